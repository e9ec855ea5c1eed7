#error "no malloc.h here"
