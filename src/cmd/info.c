#include "cmd/command.h"
int cmd_info(const Config *config)
{
    (void)config;
    return ERR_INTERNAL;
}
