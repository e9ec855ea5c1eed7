#ifndef PORT_OPENBSD_SYS_MMAN_H
#define PORT_OPENBSD_SYS_MMAN_H
#include_next <sys/mman.h>
#undef MFD_CLOEXEC
#pragma GCC poison memfd_create mremap
#endif
