"""Words of which one cannot stand for another of the same class, whatever their case.

"capital of france" and "capital of spain" are typed without a capital as often
as with one, so names alone (see `reading.py`) do not tell them apart.
"""

# A line is `class: members`; a member's spellings are joined by `=`, the first being canonical, `_` is a blank.
_CLASSES = """
country: usa=united_states=america=american=americans uk=united_kingdom=britain=british=england france=french spain=spanish italy=italian germany=german portugal=portuguese netherlands=holland=dutch belgium=belgian switzerland=swiss austria=austrian poland=polish russia=russian ukraine=ukrainian sweden=swedish norway=norwegian denmark=danish finland=finnish iceland ireland=irish scotland=scottish wales=welsh greece=greek turkey=turkish israel=israeli palestine=palestinian egypt=egyptian iran=iranian iraq=iraqi syria=syrian saudi=saudi_arabia uae=emirates qatar kuwait india=indian=indians pakistan=pakistani bangladesh=bangladeshi nepal=nepali sri_lanka=lanka china=chinese japan=japanese korea=korean vietnam=vietnamese thailand=thai malaysia=malaysian singapore=singaporean indonesia=indonesian philippines=filipino taiwan=taiwanese mongolia afghanistan=afghan australia=australian zealand=new_zealand canada=canadian mexico=mexican brazil=brazilian argentina=argentine chile=chilean peru colombia venezuela cuba=cuban nigeria=nigerian kenya=kenyan ethiopia ghana morocco algeria tanzania uganda zimbabwe hungary=hungarian romania=romanian bulgaria croatia serbia czech
city: london paris berlin madrid rome milan munich vienna zurich geneva amsterdam brussels dublin lisbon prague budapest warsaw athens istanbul moscow stockholm oslo copenhagen helsinki tokyo osaka kyoto seoul beijing shanghai shenzhen taipei bangkok hanoi jakarta manila delhi=new_delhi mumbai=bombay bangalore=bengaluru chennai=madras kolkata=calcutta hyderabad pune ahmedabad jaipur lucknow chandigarh karachi lahore islamabad dhaka colombo kathmandu dubai doha riyadh tehran baghdad cairo nairobi lagos johannesburg sydney melbourne brisbane perth auckland toronto vancouver montreal ottawa chicago boston seattle houston dallas austin denver miami atlanta philadelphia detroit phoenix portland nyc=new_york sf=san_francisco la=los_angeles=l.a. vegas=las_vegas washington
state: california texas florida ohio virginia georgia michigan illinois pennsylvania arizona oregon nevada colorado utah alaska hawaii kerala tamil_nadu maharashtra gujarat punjab rajasthan bihar karnataka telangana goa assam kashmir
language: english hindi tamil telugu kannada malayalam marathi bengali urdu arabic hebrew persian=farsi mandarin cantonese latin sanskrit esperanto swahili
programming: python java javascript=js typescript=ts c++=cpp c#=csharp golang rust kotlin swift scala haskell ruby php perl matlab fortran cobol bash powershell lua julia dart elixir erlang clojure lisp prolog
framework: react angular vue svelte django flask fastapi rails laravel symfony nextjs=next.js jquery bootstrap tensorflow pytorch keras pandas numpy scipy
database: mysql postgresql=postgres sqlite oracle mongodb=mongo redis cassandra dynamodb elasticsearch mariadb neo4j
system: windows linux macos=osx=mac_os ubuntu debian fedora centos android ios chromeos
cloud: aws=amazon_web_services azure gcp=google_cloud heroku digitalocean
tool: git svn mercurial docker podman kubernetes=k8s terraform ansible jenkins vim emacs vscode nginx apache npm yarn pip conda maven gradle
format: json xml yaml csv pdf html css markdown png jpeg=jpg gif svg mp3 mp4 wav docx xlsx toml parquet avro protobuf
protocol: http https ftp sftp ssh smtp imap tcp udp grpc graphql soap websocket mqtt
month: january=jan february=feb in_march=by_march=since_march=until_march=next_march=last_march=this_march april=apr in_may=by_may=since_may=until_may=next_may=last_may june=jun july=jul august=aug september=sept october=oct november=nov december=dec
weekday: monday tuesday wednesday thursday friday saturday sunday
moment: yesterday today tomorrow tonight
season: spring summer autumn winter
compass: north=northern south=southern east=eastern west=western
colour: red blue green yellow orange purple pink brown black white gray=grey
currency: dollar=dollars=usd euro=euros=eur rupee=rupees=inr yuan=rmb yen=jpy bitcoin=bitcoins=btc ethereum=eth litecoin
planet: mercury venus earth mars jupiter saturn uranus neptune pluto moon sun
company: google microsoft apple facebook amazon netflix twitter instagram whatsapp snapchat linkedin youtube quora uber lyft airbnb tesla samsung sony nokia intel amd nvidia ibm infosys tcs wipro accenture cognizant flipkart paypal spotify
phone: iphone=iphones ipad=ipads pixel oneplus xiaomi blackberry
model: gpt claude gemini llama mistral bert
person: trump=donald_trump clinton=hillary=hillary_clinton obama=barack_obama sanders=bernie putin modi=narendra_modi gandhi hitler stalin einstein newton
religion: christianity=christian=christians islam=muslim=muslims=islamic hinduism=hindu=hindus buddhism=buddhist=buddhists judaism=jewish=jews sikhism=sikh=sikhs jainism atheism=atheist=atheists
sport: football=soccer cricket basketball baseball tennis badminton volleyball rugby hockey golf swimming boxing wrestling chess
science: physics chemistry biology mathematics=maths=math geography economics philosophy psychology sociology astronomy geology
instrument: guitar piano violin drums flute ukulele cello saxophone trumpet
animal: dog=dogs=puppy cat=cats=kitten horse=horses cow=cows pig=pigs sheep goat=goats chicken=chickens duck=ducks rabbit=rabbits hamster=hamsters parrot=parrots snake=snakes lion=lions tiger=tigers bear=bears wolf=wolves elephant=elephants monkey=monkeys fish
kin: mother=mom=mum father=dad sister brother wife husband son daughter uncle aunt grandfather grandmother cousin girlfriend boyfriend
meal: breakfast lunch dinner
drink: tea coffee milk beer wine whiskey=whisky vodka rum juice
fruit: apple apples=apple banana=bananas mango=mangoes grape=grapes strawberry=strawberries lemon=lemons
staple: rice wheat bread pasta potato=potatoes beef pork
organ: heart liver kidney=kidneys lung=lungs brain stomach skin
exam: gre gmat ielts toefl upsc jee neet ssc
degree: bachelor=bachelors=bsc=btech master=masters=msc=mtech phd=doctorate mba
metal: gold silver copper iron steel aluminium=aluminum platinum titanium zinc
session: login=log_in=sign_in=signin=logging_in logout=log_out=sign_out=signout=logging_out
operation: add subtract multiply divide
statistic: mean median mode variance
shape: circle square triangle rectangle sphere cube cylinder cone
"""


def _parse(text: str) -> tuple[dict[str, str], dict[tuple[str, str], str]]:
    """Return (word → `class:member`, pair of words → canonical word)."""
    words: dict[str, str] = {}
    pairs: dict[tuple[str, str], str] = {}
    for line in text.strip().splitlines():
        name, _, members = line.partition(":")
        for member in members.split():
            canonical, *spellings = member.split("=")
            for spelling in (canonical, *spellings):
                first, blank, second = spelling.partition("_")
                if blank:
                    pairs[first, second] = canonical.replace("_", "")
                    spelling = canonical.replace("_", "")  # noqa: PLW2901 - the pair is read as this word
                words.setdefault(spelling, f"{name}:{canonical.replace('_', '')}")
    return words, pairs


MEMBER_OF, JOINED = _parse(_CLASSES)
