#ifndef PORT_MACOS_SYS_SOCKET_H
#define PORT_MACOS_SYS_SOCKET_H
#include_next <sys/socket.h>
#undef SOCK_NONBLOCK
#undef SOCK_CLOEXEC
#pragma GCC poison accept4 SOCK_CLOEXEC
#endif
