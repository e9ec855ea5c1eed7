#ifndef PORT_MACOS_SYS_MMAN_H
#define PORT_MACOS_SYS_MMAN_H
#include_next <sys/mman.h>
#undef MFD_CLOEXEC
#pragma GCC poison memfd_create mremap
#endif
