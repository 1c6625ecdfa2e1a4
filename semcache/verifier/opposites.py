"""Pairs of English words of which one stands for the contrary of the other; written by hand, so they can be argued with."""

# Each line: words that exclude one another. The two sides of `/` are opposites.
_OPPOSITES = """
    before prior / after following
    more greater increase increasing raise gain rise rising grow / less fewer decrease decreasing reduce lower lose drop fall falling shrink
    most / least fewest
    best better / worst worse
    good / bad evil
    first earliest / last latest
    last previous / next upcoming
    start begin starting beginning / stop end quit finish ending
    open opening / close shut closing closed
    on / off
    up / down
    left / right
    top / bottom
    above over / below under beneath
    inside / outside
    high higher highest tall taller tallest / low lower lowest short shorter shortest
    big large bigger larger biggest largest / small little smaller smallest tiny
    long longer longest / short shorter shortest brief
    fast faster fastest quick quickly / slow slower slowest slowly
    hot hotter warm warmer / cold colder cool cooler
    old older oldest / new newer newest young younger youngest
    rich richer richest wealthy / poor poorer poorest
    strong stronger strongest / weak weaker weakest
    hard harder hardest difficult / easy easier easiest simple
    hard / soft
    heavy heavier heaviest / light lighter lightest
    thick thicker / thin thinner
    fat / thin skinny slim
    wide wider broad / narrow narrower
    deep deeper / shallow shallower
    dark darker / light lighter bright
    early earlier / late later
    near nearest close closest / far farthest furthest
    cheap cheaper cheapest / expensive costly
    maximum max maximize maximise / minimum min minimize minimise
    advantage advantages pros benefit benefits / disadvantage disadvantages cons drawback drawbacks
    strength strengths / weakness weaknesses
    positive / negative
    true / false
    right correct / wrong incorrect
    right correctly / wrong wrongly
    buy buying purchase / sell selling sale
    lend / borrow
    import importing / export exporting
    upload uploading / download downloading
    install installing / uninstall uninstalling remove
    enable enabling / disable disabling
    add adding insert / remove removing delete subtract
    create creating make / delete deleting destroy
    encrypt encoding encode encryption / decrypt decoding decode decryption
    compress compressing / decompress extract decompressing
    connect connecting / disconnect disconnecting
    lock locking / unlock unlocking
    allow allows allowing allowed permit permits permitted / forbid forbids forbidden ban bans banned block blocked prevent prohibit prohibited deny denied
    accept accepts accepting accepted / reject rejects rejecting rejected refuse refused decline declined
    approve approved / reject rejected decline declined deny denied
    love like / hate dislike
    win winning won / lose losing lost
    pass passing / fail failing
    push / pull
    give giving / take taking
    send sending / receive receiving
    teach teaching / learn learning
    ask asking / answer answering
    arrive arrival arriving / depart departure leave leaving
    enter entering / exit exiting leave leaving
    save saving / spend spending
    live living alive / die dying dead
    birth born / death died
    cause causes causing / prevent prevents preventing cure cures
    safe safely / dangerous unsafe
    legal legally / illegal illegally
    public / private
    male man men boy boys / female woman women girl girls
    husband / wife
    father dad / mother mom mum
    son / daughter
    brother / sister
    uncle / aunt
    king / queen
    actor actors / actress actresses
    boyfriend / girlfriend
    ascending / descending
    horizontal horizontally / vertical vertically
    internal inner / external outer
    input / output
    sender / receiver recipient
    employer / employee
    buyer / seller
    always / never sometimes rarely
    often frequently / rarely seldom
    all every each everyone everything / some none few several nobody nothing
    many / few
    with / without
    north northern / south southern
    east eastern / west western
    day daytime / night nighttime
    morning / evening afternoon night
    summer / winter
    past / future
    ancient / modern
    liberal / conservative
    domestic / foreign international
    natural / artificial synthetic
    full / empty
    wet / dry
    clean / dirty
    happy / sad unhappy
    laugh / cry
    single / married
    introvert introverts / extrovert extroverts
    optimist / pessimist
    theory / practice
    reward / punishment
    victory / defeat
    war / peace
    friend friends / enemy enemies
    hero / villain
    asset assets / liability liabilities
    profit profits / loss losses
    supply / demand
    debit / credit
    gross / net
    fixed / variable
    active / passive
    direct / indirect
    even / odd
    vegetarian vegan / meat
    client / server
    frontend / backend
    sync synchronous / async asynchronous
    stack / heap queue
    read reading / write writing
    row rows / column columns
    primary / secondary
    major / minor
    majority / minority
    include including / exclude excluding except
    together / apart
    same identical / different
    similar similarities / different differences
    similarity / difference
    attack / defend
    expand / contract
    freeze freezing / melt melting boil boiling
    solid / liquid gas
    forward / backward backwards
    upgrade upgrading / downgrade downgrading
    undo / redo
    login / logout
    mute / unmute
    show / hide
    merge / split
    until / since
    to / from
    must / may
    polite politely / rude rudely impolite
    enabled / disabled
    included / excluded
    created added / deleted removed
    sent / received
    bought / sold
    opened / closed
    started / stopped ended finished
    increased raised / decreased reduced lowered
    upgraded / downgraded
    encrypted / decrypted
"""


def _opposites(text: str) -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for line in text.strip().splitlines():
        ours, theirs = (side.split() for side in line.split("/"))
        for word in ours:
            table.setdefault(word, set()).update(theirs)
        for word in theirs:
            table.setdefault(word, set()).update(ours)
    return {word: frozenset(others - {word}) for word, others in table.items()}


OPPOSITES = _opposites(_OPPOSITES)

# A word with one of these before it is its own opposite, but for the words of which that is not true. The last three
# undo in German, French and Spanish: `entsperren`, `désactiver`, `desbloquear`.
PREFIXES = ("un", "in", "im", "il", "ir", "non", "dis", "de", "ent", "dés", "des")
NOT_PREFIXED = frozenset(
    [
        "debate",
        "decent",
        "default",
        "defend",
        "define",
        "degrade",
        "delight",
        "depart",
        "deport",
        "depress",
        "deserve",
        "design",
        "detail",
        "detest",
        "devote",
        "discount",
        "discover",
        "disease",
        "display",
        "distance",
        "district",
        "import",
        "impress",
        "improve",
        "include",
        "income",
        "increase",
        "inform",
        "inside",
        "install",
        "instance",
        "instead",
        "instruct",
        "insure",
        "intake",
        "intend",
        "intent",
        "intention",
        "interest",
        "invest",
        "invoice",
        "unless",
        "until",
    ]
)
