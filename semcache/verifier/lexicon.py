"""Closed lists of English that the guards and features read; written by hand, so they can be argued with.

Every table is a string of words or a mapping, parsed once at import. A word
belongs here only if a changed answer follows from it nearly always: what is
true most of the time is for the boosted trees to weigh.
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _groups(text: str) -> dict[str, str]:
    """Read lines of `canonical: spelling spelling ...` into spelling → canonical."""
    table: dict[str, str] = {}
    for line in text.strip().splitlines():
        canonical, _, spellings = line.strip().partition(":")
        table[canonical] = canonical
        table.update(dict.fromkeys(spellings.split(), canonical))
    return table


STOP = _words("""
    a an the this that these those some any such own same other another
    i me my mine myself we us our ours you your yours yourself he him his she her hers it its they them their theirs one
    am is are was were be been being do does did doing done have has had having
    can could may might must shall should will would ought
    and or but if then than so as because while though although whether
    of in on at by for with about into onto from to over under between through during per via upon within
    what which who whom whose when where why how
    there here just also too very really actually only even ever please most more much many
    not no nor never neither none cannot
    get gets got getting go goes going
    s t d m re ve ll
""")

NEGATIONS = _words("""
    not no never none nobody nothing nowhere neither nor cannot hardly scarcely
    nicht kein keine nie pas jamais nunca não не нет 不 没
""")

BE = _words("be is are was were been being am get gets got not")
ASPECTS = _words("still anymore former formerly again without except becoming becomes became")

# Forms of verbs that no ending gives away.
IRREGULAR = _groups("""
    beat: beaten
    cut:
    hit:
    hurt:
    begin: began begun
    bite: bit bitten
    break: broke broken
    bring: brought
    build: built
    buy: bought
    catch: caught
    choose: chose chosen
    come: came
    draw: drew drawn
    drive: drove driven
    eat: ate eaten
    fall: fell fallen
    feed: fed
    fight: fought
    find: found
    forget: forgot forgotten
    give: gave given
    grow: grew grown
    hide: hid hidden
    hold: held
    keep: kept
    know: knew known
    lead: led
    leave: left
    lose: lost
    make: made
    meet: met
    pay: paid
    run: ran
    say: said
    see: saw seen
    sell: sold
    send: sent
    speak: spoke spoken
    spend: spent
    steal: stole stolen
    take: took taken
    teach: taught
    tell: told
    think: thought
    throw: threw thrown
    wear: wore worn
    win: won
    write: wrote written
""")

# Small words that point from what is before them to what is after, and words between which it makes no difference.
ONE_WAY = _words("to into onto over than from")
TWO_WAY = _words("""
    and or vs versus v with between married marry related relate similar same equal equals different differ compare
    compared comparison near friend friends meet plus times
""")

# Typed without the apostrophe by half the world.
BARE_CONTRACTIONS = {
    word: f"{word[:-2]} not".replace("ca not", "can not").replace("wo not", "will not")
    for word in _words("""
        dont doesnt didnt isnt arent wasnt werent cant couldnt shouldnt wouldnt wont havent hasnt hadnt
    """)
}

CONTRACTIONS = {
    "can't": "can not",
    "won't": "will not",
    "shan't": "shall not",
    "cannot": "can not",
    "what's": "what is",
    "who's": "who is",
    "where's": "where is",
    "how's": "how is",
    "when's": "when is",
    "it's": "it is",
    "that's": "that is",
    "there's": "there is",
    "he's": "he is",
    "she's": "she is",
    "let's": "let us",
    "i'm": "i am",
    **BARE_CONTRACTIONS,
}
CONTRACTION_TAILS = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would", "'m": "am", "'s": ""}

NUMBER_WORDS = {
    "zero": "0", "two": "2", "three": "3", "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8",
    "nine": "9", "ten": "10", "eleven": "11", "twelve": "12", "thirteen": "13", "fourteen": "14", "fifteen": "15",
    "sixteen": "16", "seventeen": "17", "eighteen": "18", "nineteen": "19", "twenty": "20", "thirty": "30",
    "forty": "40", "fifty": "50", "sixty": "60", "seventy": "70", "eighty": "80", "ninety": "90",
    "hundred": "100", "thousand": "1000", "lakh": "100000", "lakhs": "100000", "million": "1000000",
    "crore": "10000000", "crores": "10000000", "billion": "1000000000", "trillion": "1000000000000",
    "dozen": "12", "half": "0.5", "quarter": "0.25", "double": "2", "twice": "2", "triple": "3", "thrice": "3",
    "third": "3", "fourth": "4", "fifth": "5", "sixth": "6", "seventh": "7", "eighth": "8", "ninth": "9",
    "tenth": "10",
}  # fmt: skip
MULTIPLIERS = {"k": 3, "m": 6, "mn": 6, "b": 9, "bn": 9, "lakh": 5, "lakhs": 5, "crore": 7, "crores": 7}
SCALES = {"hundred": 2, "thousand": 3, "lakh": 5, "lakhs": 5, "million": 6, "crore": 7, "crores": 7, "billion": 9,
          "trillion": 12}  # fmt: skip
ROMAN = {"II": "2", "III": "3", "IV": "4", "VI": "6", "VII": "7", "VIII": "8", "IX": "9", "XI": "11", "XII": "12",
         "XIII": "13", "XIV": "14"}  # fmt: skip
BEFORE_A_SECOND = _words("a per each every one this last split half")
COUNTED = _words("war part phase type volume chapter level tier book act calculus class title stage grade")

UNITS = _groups("""
    km: kilometer kilometers kilometre kilometres kms
    m: meter meters metre metres
    cm: centimeter centimeters centimetre centimetres cms
    mm: millimeter millimeters millimetre millimetres
    mile: miles mi
    yard: yards
    foot: feet ft
    inch: inches
    acre: acres
    hectare: hectares
    kg: kilogram kilograms kilo kilos kgs
    g: gram grams gm gms
    mg: milligram milligrams
    pound: pounds lb lbs
    ounce: ounces oz
    ton: tons tonne tonnes
    liter: liters litre litres
    ml: milliliter milliliters millilitre millilitres
    gallon: gallons
    pint: pints
    cup: cups
    teaspoon: teaspoons tsp
    tablespoon: tablespoons tbsp
    celsius: centigrade
    fahrenheit:
    kelvin:
    millisecond: milliseconds ms
    second: seconds secs sec
    minute: minutes mins min
    hour: hours hrs hr
    day: days
    week: weeks
    month: months
    year: years yrs yr
    decade: decades
    century: centuries
    kb: kilobyte kilobytes kib
    mb: megabyte megabytes mib
    gb: gigabyte gigabytes gib
    tb: terabyte terabytes tib
    watt: watts w
    kilowatt: kilowatts kw
    volt: volts
    amp: amps ampere amperes
    hertz: hz
    khz: kilohertz
    mhz: megahertz
    ghz: gigahertz
    calorie: calories kcal
    mph:
    kph: kmh kmph
    usd: dollar dollars $ bucks
    eur: euro euros €
    gbp: sterling £
    inr: rupee rupees rs ₹
    jpy: yen ¥
    cent: cents
    percent: % percentage
    degree: degrees °
    byte: bytes
    bit: bits
""")
