import { setFlagsFromString } from 'node:v8'

// By default, V8 lets the heap grow to several times the memory in use, and an idle server does not shrink
// it. A burst of connections would then cost memory until the next restart.
setFlagsFromString('--heap-growing-percent=30')
