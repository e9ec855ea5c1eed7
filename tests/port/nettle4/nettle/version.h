#include_next <nettle/version.h>
#undef NETTLE_VERSION_MAJOR
#define NETTLE_VERSION_MAJOR	4
