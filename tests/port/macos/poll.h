#ifndef PORT_MACOS_POLL_H
#define PORT_MACOS_POLL_H
#include_next <poll.h>
#pragma GCC poison ppoll
#endif
