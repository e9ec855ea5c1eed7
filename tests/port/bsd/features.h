#ifndef PORT_BSD_FEATURES_H
#define PORT_BSD_FEATURES_H
/* Linux's headers imitate another system's, without what that lacks. */
#include_next <features.h>
#undef __GLIBC__
#endif
