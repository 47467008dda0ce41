/*
 * walchain.h: the archived WAL along one timeline's ancestry, segment by segment.
 *
 * For each segment from a first one on the chain knows the object that recovery would be served: of
 * the timelines on the path whose range holds the segment, the newest that is stored, as PostgreSQL
 * asks for them (XLogFileReadAnyTLI in xlogrecovery.c). Loading it is one listing for each timeline;
 * 24 bytes of memory for each segment. Built by one thread; reading it is thread-safe.
 */
#ifndef PITR_REPO_WALCHAIN_H
#define PITR_REPO_WALCHAIN_H

#include "pg/timeline.h"
#include "pg/walreader.h"
#include "repo/walkey.h"

typedef struct WalLink {
    uint32_t tli; /* 0: nothing stored for this segment */
    bool conflict; /* several contents */
    bool partial;  /* only a .partial is stored, which recovery is not served */
    bool cold;     /* in a storage class that must be thawed first */
    char hash[17];
} WalLink;

typedef struct WalChain {
    Repo *repo;
    uint32_t segsize;
    TimelineHistory history; /* of the timeline that the chain ends on */
    uint64_t first;          /* segment number of links[0] */
    WalLink *links;
    size_t count, room; /* up to the last stored segment */
} WalChain;

/* Reads the history of a timeline (1 has none) from the repository. ERR_TARGET if it is absent. */
bool walchain_history(Repo *repo, uint32_t tli, TimelineHistory *out, Error *err);

/* Loads the chain of `tli` from segment `first` on. */
bool walchain_load(WalChain *chain, Repo *repo, uint32_t tli, uint64_t first, uint32_t segsize,
                   Error *err);
void walchain_free(WalChain *chain);

/* The number of segments from `first` on that are stored without a hole, conflicts being holes. */
size_t walchain_run(const WalChain *chain);

/* How many of the segments up to `last` (a segment number) are cold. */
size_t walchain_cold(const WalChain *chain, uint64_t last);

/* The object of a stored segment. */
void walchain_object(const WalChain *chain, uint64_t segno, WalObject *out);

/* The name of a segment as recovery would ask for it on this path. */
void walchain_name(const WalChain *chain, uint64_t segno, char out[WALNAME_SEGMENT_TEXT]);

/* A reader of the chain's records; segments behind `limit` (a segment number) count as absent. The
 * reader must be freed before the chain. */
typedef struct WalChainSource WalChainSource;
WalReader *walchain_reader(WalChain *chain, uint64_t limit, WalChainSource **source);
void walchain_reader_free(WalReader *reader, WalChainSource *source);

/* Waits until every segment on the way to `tli`, from the one of `start` to the one that holds the
 * last byte before `stop`, is stored, and the history file of `tli`. `timeout` (microseconds) counts
 * from the last arrival; `tick` is called about once a second with the first missing name. ERR_REPO
 * with the name when it is over. */
bool walchain_wait(Repo *repo, uint32_t tli, uint64_t start, uint64_t stop, uint32_t segsize,
                   int64_t timeout, void (*tick)(void *ctx, const char *missing), void *ctx,
                   Error *err);

#endif
