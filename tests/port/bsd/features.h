/* Linux's headers serve as another system's, less what that has not. */
#include_next <features.h>
#undef __GLIBC__
