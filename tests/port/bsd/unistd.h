#include_next <unistd.h>
#pragma GCC poison syncfs euidaccess syscall getrandom copy_file_range
