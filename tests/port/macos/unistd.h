#ifndef PORT_MACOS_UNISTD_H
#define PORT_MACOS_UNISTD_H
#include_next <unistd.h>
/* fdatasync is in macOS's library, but no header declares it. */
#pragma GCC poison fdatasync pipe2 dup3
#endif
