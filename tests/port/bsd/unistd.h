#ifndef PORT_BSD_UNISTD_H
#define PORT_BSD_UNISTD_H
#include_next <unistd.h>
#pragma GCC poison syncfs euidaccess syscall getrandom copy_file_range
#endif
