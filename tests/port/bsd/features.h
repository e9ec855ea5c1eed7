#ifndef PORT_BSD_FEATURES_H
#define PORT_BSD_FEATURES_H
/* Linux's headers serve as another system's, less what that has not. */
#include_next <features.h>
#undef __GLIBC__
#endif
