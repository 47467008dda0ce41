#include "cmd/command.h"
int cmd_restore(const Config *config)
{
    (void)config;
    return ERR_INTERNAL;
}
