import { setFlagsFromString } from 'node:v8'

// By default, V8 lets the heap grow to several times the memory in use, and does not shrink it while the server is
// idle. As a result, the memory that a burst of connections needs would remain occupied until the next restart.
setFlagsFromString('--heap-growing-percent=30')
