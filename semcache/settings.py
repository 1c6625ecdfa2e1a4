"""Settings of the semantic cache; the sentence under each field is the operator's manual."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import SettingsConfigDict

from serving.environment import names_of, remarks
from serving.settings import (
    Group,
    GrpcSettings,
    HttpClientSettings,
    LifecycleSettings,
    LogSettings,
    RedisSettings,
    Seconds,
    StatsSettings,
    TracingSettings,
    check,
    read,
)


class SemcacheGrpcSettings(GrpcSettings):
    """The gRPC listener of the cache."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_")

    grpc_port: int = 8082
    """Port that gRPC listens on; 0 picks a free one."""


class SemcacheHttpSettings(Group):
    """The HTTP listener of the cache: /healthcheck and /metrics."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_")

    host: str = "0.0.0.0"  # noqa: S104 - as the rate limit service's
    """Its address."""
    port: int = 8083
    """Its port; 0 picks a free one."""


class SemcacheRedisSettings(RedisSettings):
    """The Redis that holds fill leases, where several replicas share a store. No URL: leases are in memory."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_REDIS_")

    url: SecretStr = SecretStr("")
    """As REDIS_URL. Empty: fill leases are in memory, and two replicas may fetch the same at once."""


class SemcacheTracingSettings(TracingSettings):
    """Spans of the cache."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_")

    tracing_service_name: str = "SemanticCache"
    """`service.name`."""


class EmbedderSettings(Group):
    """The model that turns prompts into vectors."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_EMBEDDER_")

    kind: Literal["onnx", "sentence"] = "onnx"
    """`onnx`: an exported model, without PyTorch. `sentence`: sentence-transformers itself, where it is installed."""
    model: str = ""
    """Folder of the model: an export for `onnx`, what sentence-transformers loads for `sentence`. Empty: the export of
    all-MiniLM-L6-v2 in the folder of models."""
    models_folder: str = ".weir/models"
    """Where `make run` and `weir export-model` keep exports."""
    precision: Literal["int8", "fp32"] = "int8"
    """Which export is taken where the folder is not named. Their vectors are never compared with each other."""
    threads: int = Field(default=1, ge=1)
    """Threads of one inference. One core embeds a prompt of 20 tokens in a few milliseconds; more threads help long
    prompts and take cores from the service."""
    batch_texts_max: int = Field(default=16, ge=1)
    """Texts in one inference. Those that wait when the model is free go together; nothing waits for more to come."""
    batch_tokens_max: int = Field(default=2_048, ge=1)
    """About how many tokens go to the model at once, at least one text: a bound on how long the next text waits for it.
    Texts whose lengths differ much are inferred apart, so that none is filled up to the longest."""
    queue_texts_max: int = Field(default=1_024, ge=1)
    """Texts that may wait; beyond it they are refused at once."""


class EdgeSettings(Group):
    """Qdrant Edge, the store in this machine: a process of its own beside the service."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_EDGE_")

    folder: str = ".weir/semcache"
    """Where entries are kept; made with mode 0700. Prompts and answers are in it as they are."""
    timeout: Seconds = 2.0
    """Bound on every call; a lookup's own deadline cuts it shorter."""
    start_timeout: Seconds = 60.0
    """Bound on opening a store, replay of its log included (100,000 entries: 4 s)."""
    calls_max: int = Field(default=1_024, ge=1)
    """Calls that may wait for the store; beyond it they fail at once."""
    flush_interval: Seconds = 30.0
    """How often what was written is forced to the disk, as far as a log has it, which no lookup waits for. A crash of any
    process loses nothing that was acknowledged; a power cut may lose so much. Uses of entries are written beside, and are
    no reason. The store itself is flushed a few times between two indexes, and lookups wait for that: 20 to 70 ms at 100,000
    entries, a second where the disk is busy."""
    unindexed_max: int = Field(default=5_000, ge=1)
    """New entries that searches may have to read one by one before an index is built: 0.3 µs each, three times that
    where the processor is shared. Entries that are stored again are new; those that are only used are not."""
    unindexed_share_max: float = Field(default=0.02, ge=0.0)
    """The same as a share of those that are indexed; the larger of the two counts. An index is built of all entries, so
    with 1,000,000 the share keeps that from being begun again all the time, at the price of 20,000 that are read one by
    one; 0: only the number counts."""
    index_threads: int = Field(default=1, ge=1)
    """Threads that build an index, at low priority."""
    warm_bytes_max: int = Field(default=536_870_912, ge=0)
    """Entries that are read ahead into the system's page cache when a store is opened, or a new index of it: without
    that, one that is read for the first time is waited for as long as the disk takes. The system drops them where memory
    is needed; 0: nothing is read ahead."""
    known_bytes_max: int = Field(default=33_554_432, ge=0)
    """Memory for what is known of the entries that there are, so that a prompt that is new costs no question to the
    store: 4 to 8 bytes for each entry, twice that while it is made anew. Where that is more than this, more new prompts
    are asked for in vain; 0: all of them."""
    copy_page_entries: int = Field(default=64, ge=1)
    """Entries copied at a time while an index is built. Lookups wait for one such page and no more: 2 ms for 64."""


class QdrantSettings(Group):
    """A Qdrant server."""

    model_config = SettingsConfigDict(env_prefix="QDRANT_")

    url: SecretStr = SecretStr("")
    """Address, `https://host:6333`; `:memory:` is the client's own in-process form, for tests only. Empty: Qdrant Edge
    is used."""
    api_key: SecretStr = SecretStr("")
    """Never logged, and never sent without TLS except to this machine."""
    grpc_port: int = 6334
    """Port of its gRPC listener."""
    use_grpc: bool = True
    """Speak gRPC; off: HTTP."""
    tls_cacert: str = ""
    """File of the CA of the server's certificate; empty: the system's."""
    timeout: Seconds = 2.0
    """Bound on every call; a lookup's own deadline cuts it shorter."""
    admin_timeout: Seconds = 30.0
    """Bound on making a collection and its indexes, removing one, and moving an alias: a cluster agrees on each first."""
    collection_prefix: str = "weir_"
    """Put before the names of collections and aliases."""
    shard_number: int = Field(default=1, ge=1)
    """Shards of a new collection."""
    replication_factor: int = Field(default=1, ge=1)
    """Copies of each shard of a new collection."""
    write_consistency_factor: int = Field(default=1, ge=1)
    """Copies that must have a write before it counts. The server takes a copy that misses one out before it answers, so 1 is
    enough, and goes on while a node is down; with more, nothing is stored or invalidated while fewer copies are there."""
    query_entries_max: int = Field(default=1_000, ge=1)
    """Strict mode: most entries that any one query may ask for; longer scans and removals go in pieces of this size."""
    calls_max: int = Field(default=256, ge=1)
    """Calls that may be under way; beyond it they fail at once."""


class LeaseSettings(Group):
    """Fill leases."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_LEASE_")

    pending_max: int = Field(default=1_024, ge=1)
    """Fetches under way that one scope remembers; beyond it every caller fetches for itself."""
    others_max: int = Field(default=32, ge=0)
    """Fetches under way, the latest, that a caller is told of."""
    note_bytes_max: int = Field(default=16_384, ge=0)
    """Size of what is remembered of each fetch; a longer note is left out."""
    poll_interval: Seconds = 0.25
    """How often a waiter looks by itself whether a lease is still held: a bound on how late it wakes where a release was
    not heard of."""
    timeout: Seconds = 1.0
    """Bound on every question to Redis."""


class CacheSettings(Group):
    """Lookups and offers."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_")

    # Precedent: Envoy gives an external processor 200 ms, and ours must fire first.
    lookup_timeout: Seconds = Field(default=0.150, gt=0)
    """Time for a lookup, and the most that a caller may ask for; then it is a MISS or a BYPASS that says what was
    slow. A wait for another caller's fetch is not part of it."""
    store_timeout: Seconds = Field(default=2.0, gt=0)
    """Time to embed an answer's prompt; writing has the store's own bound."""
    waiting_max: int = Field(default=4_096, ge=0)
    """Lookups that may wait for another caller's fetch; beyond it they are a MISS at once."""
    uses_interval: Seconds = Field(default=1.0, gt=0)
    """How long it takes until it is written down what was served: a few entries at a time, evenly."""
    uses_waiting_max: int = Field(default=65_536, ge=1)
    """Entries whose uses may wait to be written down; further ones are not counted."""
    judged_max: int = Field(default=65_536, ge=1)
    """Lookups that feedback was given on are remembered, so that none counts twice."""
    state_interval: Seconds = Field(default=10.0, gt=0)
    """How often what feedback taught is written to the store and joined with what other replicas were taught: they know of
    it after two such intervals at most, and a crash forgets the judgements of as many. It is scores and judgements, and no
    text: up to 150 kB a namespace."""
    retry_interval: Seconds = Field(default=5.0, gt=0)
    """How often a store that could not be opened, or a model that could not be loaded, is tried again. The service starts
    without a store; lookups of its namespaces are a BYPASS meanwhile."""
    prompts_remembered: int = Field(default=4_096, ge=0)
    """Prompts whose embedding is remembered, so that what was looked up is not embedded again when it is stored; 1.5 kB
    each."""


class NamespaceSettings(Group):
    """The file of namespaces."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_NAMESPACES_")

    path: str = ""
    """YAML file with a list under `namespaces`, or a folder of such files. Read again when it changes; a set with a
    problem never replaces a good one."""
    watch: Literal["auto", "poll"] = "auto"
    """How changes are seen: told by the system (`auto`), or looked for (`poll`)."""
    poll_interval: Seconds = 5.0
    """Time between two looks, also under `auto`: the bound on how late a change is seen."""
    files_max: int = Field(default=1_000, ge=1)
    """Files in the folder."""
    bytes_max: int = Field(default=1024 * 1024, ge=1)
    """Size of one file."""
    values_max: int = Field(default=100_000, ge=1)
    """YAML values in one file, aliases written out."""
    depth_max: int = Field(default=20, ge=1)
    """Nesting of YAML lists and maps."""


class SweeperSettings(Group):
    """Removing what is expired, invalidated, or one too many."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_SWEEP_")

    interval: Seconds = Field(default=30.0, gt=0)
    """Time between the end of a sweep and the next: so long an expired entry takes up room. None is served meanwhile."""
    batch_entries_max: int = Field(default=64, ge=1)
    """Entries removed at a time. A lookup waits for one such batch at most: 2 ms for 64."""
    pause: Seconds = 0.02
    """Time between two batches: 64 entries each 20 ms are at most 3,200 a second."""
    pending_max: Seconds = Field(default=60.0, gt=0)
    """How long an answer may be stored and not yet served: it takes milliseconds, and one that takes longer was left by a
    process that died in between. Far above what the clocks of replicas differ by."""
    forget_after: Seconds = Field(default=86_400.0, gt=0)
    """How long the text of an entry may be in files after it is gone: expired, evicted, replaced, invalidated. Then Qdrant
    Edge writes its files anew, as it does to build an index (100,000 entries: 48 s of one core, at low priority).
    Invalidate does that at once for a tenant, and for anything else where it is asked to. A Qdrant server decides by
    itself."""
    erase_wait: Seconds = Field(default=30.0, gt=0)
    """How long Invalidate waits until no text of what it removed is left in files; then it answers that there may be,
    and that goes on."""


class MigrationSettings(Group):
    """A change of a namespace's embedding model: the old one answers until the new one has everything."""

    model_config = SettingsConfigDict(env_prefix="SEMCACHE_MIGRATION_")

    batch_entries_max: int = Field(default=16, ge=1)
    """Entries embedded at a time: lookups wait for one such inference at most."""
    entries_per_second: float = Field(default=50.0, gt=0)
    """Most entries embedded a second, so that the model stays free for lookups; at 2 ms each, 50 are a tenth of a core."""
    noted_max: int = Field(default=10_000, ge=1)
    """Entries stored or used meanwhile that are carried over before others; beyond it all are gone through once more."""
    retry_interval: Seconds = Field(default=1.0, gt=0)
    """Time before the next attempt where a store or the model failed."""
    keep: Seconds = 3600.0
    """How long the old model's entries are kept up to date after the move, for a roll back at once; then they go."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All of them, read once."""

    grpc: SemcacheGrpcSettings
    http: SemcacheHttpSettings
    http_clients: HttpClientSettings
    lifecycle: LifecycleSettings
    log: LogSettings
    stats: StatsSettings
    tracing: SemcacheTracingSettings
    redis: SemcacheRedisSettings
    embedder: EmbedderSettings
    edge: EdgeSettings
    qdrant: QdrantSettings
    lease: LeaseSettings
    cache: CacheSettings
    namespaces: NamespaceSettings
    sweeper: SweeperSettings
    migration: MigrationSettings


GROUPS: tuple[type[Group], ...] = (
    SemcacheGrpcSettings, SemcacheHttpSettings, HttpClientSettings, LifecycleSettings, LogSettings, StatsSettings,
    SemcacheTracingSettings, SemcacheRedisSettings, EmbedderSettings, EdgeSettings, QdrantSettings, LeaseSettings, CacheSettings,
    NamespaceSettings, SweeperSettings, MigrationSettings,
)  # fmt: skip
"""Every group that the cache reads."""

# Not QDRANT_: a server of that name has settings of its own there.
OUR_PREFIXES = ("SEMCACHE_",)


def load() -> Settings:
    """Read the environment.

    Raises:
        SettingsError: some variables cannot be used; all of them are named.
    """
    check(GROUPS)
    return Settings(
        grpc=read(SemcacheGrpcSettings),
        http=read(SemcacheHttpSettings),
        http_clients=read(HttpClientSettings),
        lifecycle=read(LifecycleSettings),
        log=read(LogSettings),
        stats=read(StatsSettings),
        tracing=read(SemcacheTracingSettings),
        redis=read(SemcacheRedisSettings),
        embedder=read(EmbedderSettings),
        edge=read(EdgeSettings),
        qdrant=read(QdrantSettings),
        lease=read(LeaseSettings),
        cache=read(CacheSettings),
        namespaces=read(NamespaceSettings),
        sweeper=read(SweeperSettings),
        migration=read(MigrationSettings),
    )


def environment_remarks() -> list[str]:
    """List names in the environment that do nothing, or look misspelt."""
    return remarks(tuple(os.environ), names_of(GROUPS), prefixes=OUR_PREFIXES, absent={})
