import { setFlagsFromString } from 'node:v8'

// By default, V8 lets the heap grow to several times the memory in use, and does not shrink the heap while the server
// is idle. After a burst of connections, the server would therefore occupy too much memory until the next restart.
setFlagsFromString('--heap-growing-percent=30')
