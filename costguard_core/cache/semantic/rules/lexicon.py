"""Words that change an answer (English): opposites, kinds of things of which a question names one, empty words."""

# ruff: noqa: E501 -- lists of words
from __future__ import annotations

from collections.abc import Iterable


def _pairs(text: str) -> frozenset[frozenset[str]]:
    """``"on/off add/remove,delete"``: each word left of a slash is the opposite of each word right of it."""
    found = set()
    for entry in text.split():
        left, _, right = entry.partition("/")
        found |= {frozenset((a, b)) for a in left.split(",") for b in right.split(",")}
    return frozenset(found)


def _classes(lines: Iterable[str]) -> dict[str, str]:
    """Word → name of its class, from lines ``class: word word two_words``."""
    found = {}
    for line in lines:
        name, _, members = line.partition(":")
        found.update(dict.fromkeys(members.split(), name.strip().replace("_", " ")))
    return found


OPPOSITES = _pairs(
    """
    on/off in/out,outside inside/outside up/down above,over/below,under,beneath before/after,following since/until
    with/without for/against into/from front/back left/right top/bottom first/last,final next/previous,last
    enable,activate/disable,deactivate enabled,activated/disabled,deactivated enabling/disabling add/remove,delete,subtract
    added/removed,deleted adding/removing,deleting open/close,closed,shut opening/closing opened/closed start,begin/stop,end,finish,quit
    started/stopped,ended,finished starting/stopping,ending start/cancel create/delete,destroy,remove created/deleted
    create/cancel set/cancel,unset,remove,delete set/clear schedule/cancel book/cancel order/cancel
    buy,purchase/sell,return,refund buying,purchasing/selling bought,purchased/sold buyer/seller send/receive sent/received
    sending/receiving sender/receiver,recipient lend/borrow lending/borrowing lender/borrower give/take gives/takes
    win/lose won/lost winning/losing winner/loser increase,raise,grow/decrease,reduce,lower,shrink,cut increased,raised/decreased,reduced,lowered
    increasing,rising/decreasing,falling,reducing rise/fall,drop higher/lower high/low highest/lowest raise/lower turn_on/turn_off
    more/less,fewer most/least,fewest many/few much/little maximum,max/minimum,min maximize/minimize major/minor majority/minority
    bigger,larger,greater/smaller,lesser biggest,largest,greatest/smallest big,large,huge/small,little,tiny long/short longer/shorter
    longest/shortest tall/short taller/shorter tallest/shortest wide/narrow wider/narrower deep/shallow thick/thin fat/thin,skinny heavy/light heavier/lighter
    heaviest/lightest fast,quick/slow faster,quicker/slower fastest/slowest quickly/slowly early/late earlier/later earliest/latest new/old,used newer/older
    newest,latest/oldest young/old younger/older youngest/oldest modern/ancient hot,warm/cold,cool hotter,warmer/colder,cooler hottest,warmest/coldest
    heat/cool heating/cooling wet/dry sunny/cloudy,rainy bright/dark,dim brighter/darker,dimmer brighten/dim light/dark louder/quieter,softer
    loud/quiet,soft noisy/quiet hard/soft,easy difficult/easy,simple harder/easier complex,complicated/simple simple/advanced good,great/bad,poor
    better/worse best/worst well/badly,poorly positive/negative pros/cons pro/con advantage/disadvantage advantages/disadvantages,drawbacks
    benefit/drawback,risk benefits/drawbacks,risks strength/weakness strengths/weaknesses strong/weak stronger/weaker strongest/weakest
    true/false right,correct/wrong,incorrect yes/no accept/reject,decline,refuse accepted/rejected,declined approve/reject,deny,decline
    approved/rejected,denied,declined allow,permit/forbid,prohibit,ban,deny,block,prevent allowed,permitted/forbidden,prohibited,banned,blocked grant/revoke,deny
    granted/revoked agree/disagree confirm/deny,cancel like,love/dislike,hate support/oppose legal,lawful/illegal,unlawful safe/unsafe,dangerous,harmful
    secure/insecure healthy/unhealthy,sick alive/dead live,living/dead life/death born/died birth/death guilty/innocent rich/poor cheap,inexpensive/expensive,costly
    cheaper/costlier,pricier cheapest/costliest,priciest free/paid,busy profit/loss gain/loss,lose income/expense,expenses,expenditure revenue/cost,costs asset/liability assets/liabilities
    credit/debit deposit/withdraw,withdrawal deposited/withdrawn deposits/withdrawals surplus/deficit save/spend saved/spent saving/spending saving/checking savings/checking
    pay/owe owed/paid bull/bear bullish/bearish long/short wholesale/retail gross/net fixed/variable,floating
    push/pull upload/download uploaded/downloaded upgrade/downgrade update/rollback install/uninstall installed/uninstalled lock/unlock locked/unlocked
    connect/disconnect connected/disconnected login/logout sign_in/sign_out log_in/log_out subscribe/unsubscribe subscribed/unsubscribed mute/unmute muted/unmuted
    follow/unfollow friend/unfriend,enemy like/unlike pin/unpin hide/show,unhide,display hidden/visible visible/invisible public/private online/offline active/inactive
    encrypt/decrypt encode/decode compress/decompress,extract import/export imported/exported include/exclude included/excluded including/excluding internal/external
    input/output inbound/outbound incoming/outgoing inner/outer interior/exterior indoor/outdoor indoors/outdoors arrive/depart,leave arrival/departure arrivals/departures arriving/departing,leaving
    arrives/departs,leaves enter/exit,leave entrance,entry/exit come/go coming/going join/leave,quit hire/fire hired/fired employed/unemployed
    employee/employer teacher/student doctor/patient parent/child husband/wife mother/father mom/dad son/daughter brother/sister boy/girl man/woman men/women male/female uncle/aunt nephew/niece
    grandfather/grandmother king/queen landlord/tenant buyer/vendor customer/supplier plaintiff/defendant client/server host/guest read/write reading/writing read/unread
    source/destination,target origin/destination ancestor/descendant predecessor/successor parent/child numerator/denominator multiply/divide add/subtract plus/minus addition/subtraction
    multiplication/division sum/difference odd/even prime/composite ascending/descending ascend/descend horizontal/vertical clockwise/counterclockwise forward,forwards/backward,backwards,reverse
    forward/rewind play/pause,stop pause/resume resume/stop,pause volume_up/volume_down morning/evening,night day/night daytime/nighttime am/pm sunrise/sunset dawn/dusk today/tomorrow,yesterday
    yesterday/tomorrow past/future always/never often/rarely,seldom frequently/rarely sometimes/never everyone,everybody/nobody everything/nothing all/none both/neither either/neither anyone/nobody
    any/none same/different similar/different equal/unequal identical/different common/rare usual/unusual normal/abnormal possible/impossible likely/unlikely certain/uncertain able/unable
    present/absent success/failure succeed/fail succeeded/failed pass/fail passed/failed full/empty fill/empty filled/empty clean/dirty wash/dry near,close/far nearest,closest/farthest,furthest
    nearby/far attach/detach attached/detached assemble/disassemble build/destroy,demolish fix,repair/break fixed,repaired/broken freeze/unfreeze,melt,thaw frozen/thawed
    wake/sleep awake/asleep sit/stand laugh/cry happy/sad,unhappy optimistic/pessimistic polite/rude kind/cruel brave/cowardly honest/dishonest
    liquid/solid gas/solid acid/base,alkaline acidic/alkaline,basic organic/inorganic natural/artificial,synthetic real/fake authentic/fake mortal/immortal
    domestic/international,foreign local/remote,global urban/rural north/south east/west northern/southern eastern/western
    vegetarian/meat vegan/meat sweet/sour,bitter salty/sweet raw/cooked fresh/stale,rotten,frozen mild/spicy
    temporary/permanent manual/automatic manually/automatically optional/required,mandatory compulsory/voluntary mandatory/voluntary static/dynamic
    mutable/immutable synchronous/asynchronous sync/async serial/parallel single/multiple,double,married single/return one-way/round-trip singular/plural
    active/passive formal/informal specific/general explicit/implicit concrete/abstract absolute/relative direct/indirect directly/indirectly rational/irrational
    inflate/deflate inflation/deflation expand/contract,collapse expansion/contraction stretch/shrink hypertension/hypotension hyperglycemia/hypoglycemia
    gain/lose gained/lost weight_gain/weight_loss lost/found find/lose lose/keep keep/discard,remove,delete store/discard remember/forget
    attack/defend offense/defense war/peace victory/defeat attract/repel love/hate admit/deny admit/expel admitted/denied
    tighten/loosen tight/loose smooth/rough sharp/blunt,dull straight/curved,crooked even/uneven flat/steep
    extend/shorten,reduce extended/shortened lengthen/shorten delay/advance,expedite postpone/advance late/punctual ahead/behind
    eligible/ineligible valid/invalid available/unavailable refundable/nonrefundable taxable/nontaxable toxic/nontoxic flammable/nonflammable
    reversible/irreversible alkaline/acid sober/drunk pregnant/nonpregnant contagious/noncontagious malignant/benign chronic/acute
    up/downwards upper/lower upward/downward upstairs/downstairs upstream/downstream uptime/downtime inflow/outflow income/outgo overtime/undertime
    overestimate/underestimate overweight/underweight overpaid/underpaid overcharged/undercharged overcooked/undercooked above/underneath atop/below
    with,including/excluding,minus until,till/from,since prior/after,following,since during/before,after top/worst,bottom keep/stop,cancel,quit
    raised/lowered voluntary/involuntary taxable/tax-free tolerant/intolerant assign/unassign archive/unarchive first/latest
    starter/dessert appetizer/dessert breakfast/dinner,lunch lunch/dinner
    """
)

# A question about one member is not a question about another.
CLASSES = _classes(
    """
    month: january february march april may june july august september october november december
    month_short: jan feb mar apr jun jul aug sep sept oct nov dec
    day: monday tuesday wednesday thursday friday saturday sunday
    relative_day: today tomorrow yesterday tonight weekend weekday
    part_of_day: morning noon afternoon evening night midnight
    period: daily hourly weekly biweekly monthly quarterly yearly annual annually
    span: second minute hour day week month quarter year decade century
    season: spring summer autumn fall winter
    meal: breakfast brunch lunch dinner supper dessert snack
    colour: red green blue yellow orange purple pink brown black white gray grey violet turquoise cyan magenta beige
    currency: $ € £ ¥ dollar dollars usd euro euros eur pound pounds gbp yen jpy yuan cny rmb franc francs chf rupee rupees inr peso pesos won krw real ruble rubles rub krona sek zloty pln bitcoin btc ethereum eth cad aud nzd hkd sgd mxn brl dinar lira shekel
    length: inch inches foot feet yard yards mile miles meter meters metre metres centimeter centimeters cm millimeter millimeters mm kilometer kilometers km
    weight: ounce ounces oz lb lbs gram grams kilogram kilograms kg ton tons tonne tonnes milligram milligrams mg
    volume: teaspoon teaspoons tsp tablespoon tablespoons tbsp cup cups pint pints quart quarts gallon gallons liter liters litre litres ml milliliter milliliters
    temperature: celsius fahrenheit kelvin
    data: byte bytes kb mb gb tb kilobyte kilobytes megabyte megabytes gigabyte gigabytes terabyte terabytes bit bits
    tongue: english spanish french german italian portuguese russian chinese mandarin cantonese japanese korean arabic hindi bengali urdu turkish dutch swedish norwegian danish finnish polish czech greek hebrew thai vietnamese indonesian latin hungarian romanian ukrainian swahili tagalog
    country: usa us america uk england scotland wales ireland britain france germany italy spain portugal netherlands holland belgium switzerland austria poland russia ukraine sweden norway denmark finland iceland greece turkey israel egypt morocco nigeria kenya ethiopia ghana china japan korea taiwan india pakistan bangladesh indonesia malaysia singapore thailand vietnam philippines australia canada mexico brazil argentina chile colombia peru venezuela cuba jamaica iran iraq afghanistan syria lebanon jordan qatar kuwait nepal hungary romania bulgaria serbia croatia czechia slovakia slovenia estonia latvia lithuania
    continent: africa asia europe antarctica oceania
    city: paris london berlin madrid rome vienna prague warsaw budapest amsterdam brussels lisbon dublin moscow istanbul athens stockholm oslo copenhagen helsinki zurich geneva milan barcelona munich hamburg frankfurt tokyo osaka kyoto beijing shanghai seoul delhi mumbai bangalore kolkata chennai bangkok jakarta manila hanoi dubai cairo lagos nairobi johannesburg sydney melbourne brisbane perth toronto montreal vancouver chicago boston seattle denver dallas houston austin atlanta miami orlando phoenix philadelphia detroit cleveland baltimore portland sacramento nashville memphis charlotte minneapolis tampa pittsburgh cincinnati oakland
    state: california texas florida nevada arizona oregon washington ohio michigan illinois georgia virginia massachusetts pennsylvania colorado utah alaska hawaii montana idaho kansas iowa missouri louisiana alabama mississippi tennessee kentucky indiana wisconsin minnesota oklahoma nebraska maryland delaware maine vermont connecticut arkansas wyoming
    planet: mercury venus earth mars jupiter saturn uranus neptune pluto moon sun
    system: windows linux macos ubuntu debian fedora android ios ipados
    database: postgres postgresql mysql sqlite mariadb mongodb redis oracle cassandra dynamodb snowflake bigquery
    language: python java javascript typescript rust golang ruby php perl kotlin swift scala haskell cobol fortran matlab
    cloud: aws azure gcp heroku
    service: netflix hulu spotify youtube pandora itunes facebook twitter instagram tiktok linkedin whatsapp telegram slack snapchat reddit pinterest
    company: apple google amazon microsoft tesla samsung sony nokia intel nvidia amd ibm walmart target costco nike adidas toyota honda ford bmw uber lyft
    bank: visa mastercard amex discover chase citibank paypal venmo zelle
    metal: gold silver platinum copper iron aluminum bronze steel titanium lead zinc nickel
    sport: football soccer basketball baseball hockey tennis golf cricket rugby volleyball badminton boxing swimming
    animal: dog cat horse cow pig sheep goat chicken duck rabbit mouse elephant lion tiger bear wolf fox monkey snake whale shark dolphin penguin
    meat: beef pork lamb turkey bacon ham sausage salmon tuna shrimp
    fruit: apples banana bananas oranges lemon lemons lime grape grapes mango peach pear cherry strawberry strawberries blueberry pineapple watermelon
    drink: coffee tea beer wine milk juice water soda whiskey vodka espresso latte cappuccino
    grain: rice pasta bread oats quinoa noodles wheat
    transport: train bus taxi plane flight ferry tram subway bicycle bike
    instrument: guitar piano violin drums flute trumpet cello saxophone
    medicine: aspirin ibuprofen paracetamol acetaminophen amoxicillin penicillin insulin metformin warfarin morphine
    organ: heart liver kidney kidneys lung lungs brain stomach pancreas skin
    holiday: christmas easter thanksgiving halloween ramadan diwali hanukkah passover eid carnival
    quarter: q1 q2 q3 q4 h1 h2
    direction: north south east west
    ordinal_place: beginning middle end
    """.strip().splitlines()
)

# Two names of one member.
SAME_MEMBER = {
    word: names.split()[0]
    for names in (
        "usd dollar dollars $",
        "eur euro euros €",
        "gbp pound pounds £",
        "jpy yen ¥",
        "cm centimeter centimeters centimetre centimetres",
        "mm millimeter millimeters",
        "km kilometer kilometers kilometre kilometres",
        "metre metres meter meters",
        "inch inches",
        "foot feet",
        "kg kilogram kilograms kilo kilos",
        "g gram grams",
        "mg milligram milligrams",
        "oz ounce ounces",
        "lb lbs",
        "l liter liters litre litres",
        "ml milliliter milliliters",
        "kb kilobyte kilobytes",
        "mb megabyte megabytes",
        "gb gigabyte gigabytes",
        "tb terabyte terabytes",
        "hour hours hr hrs",
        "minute minutes min mins",
        "second seconds sec secs",
        "usa us america",
        "uk england britain",
        "yearly annual annually",
        "jan january",
        "feb february",
        "postgres postgresql",
        "golang go",
        "flight plane",
    )
    for word in names.split()
}

# Opposites by prefix: X and prefix + X, and the same stem under two prefixes.
NEGATING_PREFIXES = ("un", "in", "im", "ir", "il", "dis", "non", "non-", "de", "mis", "anti", "anti-", "counter")
# Words that begin like a negation and are none: "form" is not the opposite of "inform".
FALSE_NEGATIONS = frozenset(
    """
    insure inform input insight intake install indoor inside invest intend intent income improve import impress imprint display
    discover discount dispatch dispute distance disease discuss dispose dismiss demand depart deposit design detail develop desire
    department delight define delay deliver decide mistake mission unless universe uncle counterpart
    """.split()
)
PREFIX_OPPOSITES = _pairs(
    "in/out in/ex im/ex in/de up/down over/under pre/post maxi/mini hyper/hypo inter/intra macro/micro pro/anti en/dis ac/de pro/re "
    "multi/single as/de"
)

NEGATORS = frozenset(
    "not no never none nobody nothing nowhere neither nor without cannot hardly scarcely barely except unless lack lacks lacking "
    "avoid avoiding non".split()
)
# In these the negation is politeness or an idiom: "why don't you tell me", "if you don't mind", "I don't know how to…".
POLITE_NEGATIONS = (
    "why do not you",
    "why not",
    "if you do not mind",
    "do not you",
    "can not you",
    "could not you",
    "would not you",
    "will not you",
    "do not mind",
    "i do not know",
    "i do not understand",
    "do not remember",
    "do not recall",
    "not able to find",
    "not been able to locate",
    "oh no",
    "or no",
    "no problem",
    "no worries",
    "not sure",
    "not certain",
    "whether or not",
    "or not",
    "do not forget to",
    "never mind",
    "is not it",
    "is not there",
    "are not there",
    "have not i",
    "can not find",
    "can not seem to find",
    "can not be found",
    "can not locate",
    "can not remember",
    "can not recall",
    "can not figure out",
    "have no idea",
    "have no clue",
    "got no idea",
    "do not know how",
    "do not know what",
    "do not know where",
    "do not know why",
    "can not understand",
    "did not understand",
    "not understanding",
    "did not hear",
    "could not hear",
    "could not understand",
    "did not catch",
    "have not heard",
    "do not let me forget",
    "do not have any idea",
    "do not have a clue",
    "can not decide",
    "have not a clue",
    "no clue",
    "no idea",
    "for no reason",
    "is not already",
    "are not already",
    "do not have any more",
)

# Stems of verbs that say no to what follows: "stop syncing", "prevent it".
PREVENTING = frozenset("stop prevent quit ceas".split())

POSSESSIVES = {
    "my": "me",
    "mine": "me",
    "your": "you",
    "yours": "you",
    "his": "him",
    "her": "her",
    "hers": "her",
    "our": "me",  # whoever asks is one of us
    "ours": "me",
    "their": "them",
    "theirs": "them",
}

CONTRACTED = {
    "cant": "can not",
    "dont": "do not",
    "doesnt": "does not",
    "didnt": "did not",
    "isnt": "is not",
    "arent": "are not",
    "wasnt": "was not",
    "wont": "will not",
    "wouldnt": "would not",
    "couldnt": "could not",
    "shouldnt": "should not",
    "havent": "have not",
    "hasnt": "has not",
    "whats": "what is",
    "wheres": "where is",
    "whos": "who is",
    "hows": "how is",
    "thats": "that is",
    "lets": "let us",
    "im": "i am",
    "ive": "i have",
    "cannot": "can not",
    "unable": "not able",
    "gonna": "going to",
    "wanna": "want to",
    "gotta": "have to",
    "won't": "will not",
    "can't": "can not",
    "shan't": "shall not",
    "ain't": "is not",
    "let's": "let us",
}
ENDINGS = {"n't": "not", "'re": "are", "'ve": "have", "'ll": "will", "'d": "would", "'m": "am"}

FUNCTION_WORDS = frozenset(
    """
    a an the this that these those it its he she they them him i me you we us and or but so if then than as of to in on at by for from with
    about into over up out off is are was were be been being am do does did done have has had having will would shall should can could may
    might must what which who whom whose where when why how there here just also please pls thanks thank hi hello hey ok okay well now
    kindly sir let want need like know tell give show get got find me my your our his her their some any much many very really actually
    quick quickly question wonder wondering hoping would'ya could'ya would could kind sort lot bit out going able help
    """.split()
)

SMALL_NUMBERS = {
    word: value
    for value, word in enumerate(
        "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
        "eighteen nineteen".split()
    )
}
TENS = {w: v * 10 for v, w in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), start=2)}
SCALES = {
    "hundred": 100,
    "thousand": 1_000,
    "million": 1_000_000,
    "billion": 1_000_000_000,
    "trillion": 1_000_000_000_000,
}
ORDINALS = {
    word: value
    for value, word in enumerate(
        "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth".split(), start=1
    )
}
# Without those that are words or letters: "i", "v", "x", "mix".
ROMAN = {
    "ii": 2,
    "iii": 3,
    "iv": 4,
    "vi": 6,
    "vii": 7,
    "viii": 8,
    "ix": 9,
    "xi": 11,
    "xii": 12,
    "xiii": 13,
    "xiv": 14,
    "xvi": 16,
}
MULTIPLES = {"dozen": 12, "half": 0.5, "twice": 2, "double": 2, "triple": 3}
