#error "no sys/syscall.h here"
