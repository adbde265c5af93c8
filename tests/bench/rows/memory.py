"""The largest resident size of each kind of run, at two sizes of the archive."""

from stage import CHANGES_ONLY

# Studies of the bulk changes.
BULK = 50_000


def memory(stage, report):
    """largest resident size of each kind of run at --studies and at --multiple times as many: at most 48 MiB, flat"""
    small = peaks(stage, "archive", stage.studies)
    large = peaks(stage, "archive_large", stage.studies * stage.options.multiple)
    text = f"{stage.studies * 3 * stage.options.multiple:,} series"
    for kind in small:
        # A tenth is what two runs at one size differ by.
        report.line("memory", f"{kind}, {text}", "MiB", [large[kind]], [small[kind]], [("median", 48), ("ratio", 1.1)])


def peaks(stage, archive, studies):
    """MiB of each kind of run on an archive with so many studies, which is made unless it is the shared one."""
    pg = stage.pg
    if archive != stage.archive:
        stage.need(studies)
        pg.archive(archive, studies)
    pg.create("loaded")
    source, target = pg.url(archive), pg.url("loaded")
    site = stage.site(source, target, name="memory", source_keys=CHANGES_ONLY)
    found = {"first load": site.once()[1]}
    pg.sql("loaded", "VACUUM ANALYZE")
    with site:
        site.run()
        for kind, count in (("delta of 1,000 studies", 1000), ("delta of 50,000 studies", BULK)):
            stage.change_first(min(count, stage.studies), kind, archive)
            site.run()
            found[kind] = site.memory()[1]
    found["comparison of everything"] = site.once()[1]
    stage.change_ids(min(BULK, stage.studies), "MEMORY", archive)
    found["bulk change, by comparison"] = site.once()[1]
    stage.check("loaded", archive)
    pg.drop("loaded")
    if archive != stage.archive:
        pg.drop(archive)
    return found
