<?php
// SPDX-License-Identifier: GPL-2.0
// What is asked for stands in "do"; an answer is whole if its last line is "end".

mysqli_report(MYSQLI_REPORT_ERROR | MYSQLI_REPORT_STRICT);
header('Content-Type: text/plain');
$db = new mysqli(null, 'www-data', '', 'web', 0, '/run/mysqld/mysqld.sock');

function number($name)
{
	return (int)($_REQUEST[$name] ?? 0);
}

function one($db, $query)
{
	return $db->query($query)->fetch_row()[0];
}

// Boot, pid and start of a process in ticks since then: no two have the same.
function process($pid)
{
	$stat = file_get_contents("/proc/$pid/stat");
	$fields = explode(' ', substr($stat, strrpos($stat, ')') + 2));
	return trim(file_get_contents('/proc/sys/kernel/random/boot_id')) . "-$pid-$fields[19]";
}

// In the midst of it, or when it is done, it may rest for some seconds: so long is there no answer.
function move($db)
{
	$db->begin_transaction();
	try {
		$db->query('INSERT INTO done VALUES (' . number('n') . ')');
	} catch (mysqli_sql_exception $e) {
		if ($e->getCode() != 1062)
			throw $e;
		$db->rollback();
		return "again\n";
	}
	$db->query('UPDATE account SET amount = amount - ' . number('amount') . ' WHERE id = ' . number('from'));
	$db->query('UPDATE account SET amount = amount + ' . number('amount') . ' WHERE id = ' . number('to'));
	sleep(number('rest'));
	$db->commit();
	sleep(number('linger'));
	return "done\n";
}

function fill($db)
{
	$values = [];
	for ($i = number('first'); $i <= number('last'); $i++)
		$values[] = "($i,'" . str_repeat("$i-", number('words')) . "')";
	$db->query('INSERT INTO kept VALUES ' . implode(',', $values));
}

function open_accounts($db)
{
	for ($i = 1; $i <= number('accounts'); $i++)
		$db->query("INSERT INTO account VALUES ($i," . number('amount') . ')');
	$db->query("INSERT INTO token VALUES ('" . $db->real_escape_string($_REQUEST['token']) . "')");
}

function rows($db, $query)
{
	foreach ($db->query($query, MYSQLI_USE_RESULT) as $row)
		echo implode(' ', $row), "\n";
}

switch ($_REQUEST['do'] ?? '') {
case 'fill':
	fill($db);
	break;
case 'open':
	open_accounts($db);
	break;
case 'move':
	echo move($db);
	break;
case 'begun':	// if asked for an open one, whether it is committed or not
	if (number('open'))
		$db->query('SET TRANSACTION ISOLATION LEVEL READ UNCOMMITTED');
	echo one($db, 'SELECT COUNT(*) FROM done WHERE n = ' . number('n')), "\n";
	break;
case 'rows':
	rows($db, 'SELECT id, v FROM kept WHERE id BETWEEN ' . number('first') . ' AND ' . number('last') . ' ORDER BY id');
	break;
case 'accounts':
	rows($db, 'SELECT id, amount FROM account ORDER BY id');
	break;
case 'done':
	rows($db, 'SELECT n FROM done ORDER BY n');
	break;
case 'who':
	echo process($_SERVER['NGINX_PID']), "\n", process(posix_getppid()), "\n";
	echo one($db, 'SELECT CONNECTION_ID()'), "\n";
	echo one($db, "SELECT variable_value FROM information_schema.global_status WHERE variable_name = 'UPTIME'"), "\n";
	echo one($db, 'SELECT COUNT(*) FROM kept'), "\n", one($db, 'SELECT v FROM token'), "\n";
	break;
default:
	http_response_code(404);
}
echo "end\n";
