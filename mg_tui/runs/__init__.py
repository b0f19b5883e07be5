"""Runs: folders with a journal as the source of truth. Cheap to import; training is a separate process.

folder          one run's folder: file names, ids, atomic creation
journal         append-only, numbered events: one writer, any number of readers
lock            held by the running worker, freed by the kernel when it exits
view            events folded into what front ends show, and the state of the run
watch           a run followed over time: journal and lock read in an order without races
control         requests from front ends to the worker
store           all runs of a home folder, and finding one by id or name
launch          starts workers and waiting processes that outlive their starter
queue           order of the queued runs; `scheduler` allocates devices, `waiter` waits and becomes the worker
device_request  devices that a run requested and got; `devices` finds and locks them
operations      what users do with runs: start, queue, resume, rerun, stop
engine_process  engine programs that answer requests of a front end in JSON lines
"""
