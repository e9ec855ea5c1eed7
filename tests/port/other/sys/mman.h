#include_next <sys/mman.h>
#undef MFD_CLOEXEC
#pragma GCC poison memfd_create mremap
