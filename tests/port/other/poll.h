#include_next <poll.h>
#pragma GCC poison ppoll
