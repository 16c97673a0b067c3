// Nothing to call: a program that is linked with this target wipes what it frees.
#ifndef GATEHOUSE_WIPING_HEAP_H
#define GATEHOUSE_WIPING_HEAP_H
#endif
