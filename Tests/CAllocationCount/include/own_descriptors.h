#ifndef GATEHOUSE_OWN_DESCRIPTORS_H
#define GATEHOUSE_OWN_DESCRIPTORS_H

/// Gives the calling thread a table of descriptors of its own, with the standard ones only. What other
/// threads open or close from then on does not count for this one, nor the reverse. Returns 0, or -1.
int gatehouse_own_empty_descriptors(void);

/// Fills the calling thread's table up to the process's limit. Returns the last descriptor, or -1.
int gatehouse_fill_descriptors(void);

#endif
