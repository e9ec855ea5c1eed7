#ifndef PORT_NETTLE4_NETTLE_VERSION_H
#define PORT_NETTLE4_NETTLE_VERSION_H
#include_next <nettle/version.h>
#undef NETTLE_VERSION_MAJOR
#define NETTLE_VERSION_MAJOR	4
#endif
