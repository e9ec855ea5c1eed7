#ifndef PORT_MACOS_UNISTD_H
#define PORT_MACOS_UNISTD_H
#include_next <unistd.h>
/* fdatasync is in its library, but declared nowhere. */
#pragma GCC poison fdatasync pipe2 dup3
#endif
