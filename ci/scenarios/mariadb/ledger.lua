-- SPDX-License-Identifier: GPL-2.0
-- sysbench's oltp_read_write, with a row in a ledger for each of its transactions, written just before it is committed. It has the number of
-- the run, of the thread, and of the transaction in it; none can be there twice. Each thread says at its end how many were confirmed.

require("oltp_read_write")

sysbench.cmdline.options.run = {"Number of this run", 1}
sysbench.cmdline.options.while_file = {"Transactions are begun as long as this file is there", "/dev/null"}

local transaction, commit_it, done = event, commit, thread_done
local confirmed = 0

function commit()
   con:query(string.format("INSERT INTO ledger VALUES (%d, %d, %d)", sysbench.opt.run, sysbench.tid, confirmed + 1))
   commit_it()
end

function event()
   local file = io.open(sysbench.opt.while_file)
   if not file then
      return true
   end
   file:close()
   transaction()
   confirmed = confirmed + 1
end

function thread_done()
   print(string.format("thread %d confirmed %d", sysbench.tid, confirmed))
   done()
end
