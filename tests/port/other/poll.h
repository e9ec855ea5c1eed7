#ifndef PORT_OTHER_POLL_H
#define PORT_OTHER_POLL_H
#include_next <poll.h>
#pragma GCC poison ppoll
#endif
