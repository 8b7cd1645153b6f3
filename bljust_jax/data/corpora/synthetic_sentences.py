"""The sentences of `synthetic_voices`: a context-free grammar of remarks about people, places, times and goods.

A rule maps a symbol to its alternatives, in which `<symbol>` stands for a sentence of another rule. Everything is
written out in words of a-z and apostrophes. The grammar and its words are the project's own.
"""

import random
import re
from collections.abc import Mapping, Sequence

from bljust_jax.data.corpora import synthetic_words as words

_SYMBOL = re.compile(r'<(\w+)>')
_SIBILANT = re.compile(r'(s|x|z|ch|sh)$')
_Y_AFTER_CONSONANT = re.compile(r'(?<![aeiou])y$')
_ADVERBIAL = ('ful', 'ous', 'ent', 'ant', 'ive', 'ere', 'ite', 'ish')


def plural(noun: str) -> str:
    """The regular plural of a noun; also the third person of a verb."""
    if _Y_AFTER_CONSONANT.search(noun):
        return f'{noun[:-1]}ies'
    return f'{noun}es' if _SIBILANT.search(noun) else f'{noun}s'


def past(verb: str) -> str:
    """The regular past tense of a verb that doubles no consonant."""
    if _Y_AFTER_CONSONANT.search(verb):
        return f'{verb[:-1]}ied'
    return f'{verb}d' if verb.endswith('e') else f'{verb}ed'


def gerund(verb: str) -> str:
    """The regular form in -ing of a verb that doubles no consonant."""
    return f'{verb[:-1]}ing' if verb.endswith('e') else f'{verb}ing'


_NUMBERS = {
    'unit': words.UNITS,
    'teen': words.TEENS,
    'ten': words.TENS,
    'tens': ('<ten>', '<ten> <unit>', '<ten> <unit>'),
    'below_hundred': ('<unit>', '<teen>', '<tens>', '<tens>'),
    'hundreds': ('<unit> hundred', '<unit> hundred and <below_hundred>', '<unit> hundred and <below_hundred>'),
    'thousands': ('<below_hundred> thousand', '<unit> thousand <hundreds>', '<teen> thousand <hundreds>'),
    'number': ('<unit>', '<teen>', '<tens>', '<tens>', '<hundreds>', '<thousands>'),
    'digit': ('zero', *words.UNITS),
    'letter': words.SPELLING,
    'digits': ('<digit> <digit> <digit>', '<digit> <digit> <digit> <digit>', '<digit> <digit> double <digit> <digit>'),
    'count': ('two', 'three', 'four', 'five', 'six', 'eight', '<teen>', '<tens>', 'a dozen', 'several', 'a few'),
    'low_ordinal': words.LOW_ORDINALS,
    'ordinal': (*words.LOW_ORDINALS, *words.TEEN_ORDINALS, 'twenty <low_ordinal>', 'thirtieth'),
    'price': ('<below_hundred> pounds', '<unit> pounds <tens>', '<hundreds> dollars', '<tens> pence', '<number> euros'),
    'share': ('<tens> percent', '<unit> percent', 'a quarter', 'a third', 'half', 'two thirds', 'three quarters'),
    'measure': ('<number> kilometres', '<tens> miles', '<unit> inches', '<hundreds> metres', '<teen> feet'),
    'weight': ('<unit> kilograms', '<hundreds> grams', '<teen> ounces', '<tens> pounds', 'half a ton'),
}
_TIMES = {
    'month': words.MONTHS,
    'weekday': words.WEEKDAYS,
    'hour': (*words.UNITS, 'ten', 'eleven', 'twelve'),
    'minutes': ('five', 'ten', 'twenty', 'twenty five', 'a quarter'),
    'clock': (
        "<hour> o'clock",
        '<minutes> past <hour>',
        '<minutes> to <hour>',
        'half past <hour>',
        '<hour> <tens>',
        'noon',
        'midnight',
    ),
    'part': ('morning', 'afternoon', 'evening'),
    'year': ('nineteen <tens>', 'eighteen <tens>', 'seventeen <tens>', 'two thousand and <unit>', 'twenty <teen>'),
    'date': (
        'the <ordinal> of <month>',
        '<month> the <ordinal>',
        '<weekday> the <ordinal> of <month>',
        '<month> <year>',
    ),
    'when': (
        *('on <weekday>', 'on <weekday> <part>', 'at <clock>', 'on <date>', 'next <weekday>', 'last <month>'),
        *('in <month>', 'in <year>', 'before <clock>', 'after <clock>', 'this <part>', 'every <weekday>'),
        *('tomorrow <part>', 'yesterday <part>', 'in <count> weeks', 'for <count> hours', 'since <date>'),
    ),
}
_PEOPLE = {
    'first': words.FIRST_NAMES,
    'surname': words.SURNAMES,
    'job': words.JOBS,
    'jobs': [plural(job) for job in words.JOBS],
    'title': ('doctor', 'professor', 'mister', 'missus', 'miss', 'captain', 'judge', 'sir', 'lady', 'colonel'),
    'kin': words.FAMILY,
    'name': ('<first> <surname>', '<first>', '<title> <surname>', '<first> and <first>', '<first> <surname>'),
    'owner': ("<first>'s", "<surname>'s", "my <kin>'s", "the <job>'s", 'my', 'your', 'his', 'her', 'our', 'their'),
    'person': (
        '<name>',
        '<name>',
        'the <job>',
        'my <kin>',
        "<first>'s <kin>",
        'the <adjective> <job>',
        'her <kin> <first>',
    ),
    'pronoun': ('he', 'she', 'we', 'they', 'i', 'you'),
}
_PLACES = {
    'place': words.PLACES,
    'site': words.SITES,
    'sites': [plural(site) for site in words.SITES],
    'side': ('north', 'south', 'east', 'west', 'left', 'right'),
    'road': ('street', 'road', 'avenue', 'lane', 'square', 'terrace', 'hill', 'gardens', 'crescent', 'drive'),
    'street': ('<surname> <road>', '<first> <road>', '<place> <road>', '<ordinal> <road>', '<animal> <road>'),
    'address': ('<number> <street>', '<below_hundred> <street> in <place>', 'flat <unit> <street>'),
    'where': (
        *(
            'in <place>',
            'near <place>',
            'at the <site>',
            'behind the <site>',
            'in <street>',
            'between <place> and <place>',
        ),
        *('next to the <adjective> <site>', 'at <address>', 'opposite the <site>', 'under the <thing>', 'on <street>'),
    ),
    'transport': words.TRANSPORT,
    'vehicles': [plural(vehicle) for vehicle in words.TRANSPORT],
}
_THINGS = {
    'thing': words.GOODS,
    'things': [plural(thing) for thing in words.GOODS],
    'food': words.FOODS,
    'animal': words.ANIMALS,
    'animals': [plural(animal) for animal in words.ANIMALS],
    'topic': words.TOPICS,
    'adjective': words.ADJECTIVES,
    'adverb': [f'{adjective}ly' for adjective in words.ADJECTIVES if adjective.endswith(_ADVERBIAL)],
    'colour': words.COLOURS,
    'material': words.MATERIALS,
    'object': (
        *(
            'the <thing>',
            'the <adjective> <thing>',
            'the <colour> <thing>',
            '<owner> <thing>',
            '<owner> <material> <thing>',
        ),
        *(
            '<count> <things>',
            '<count> <colour> <things>',
            'the <adjective> <things>',
            'that <thing>',
            'those <things>',
        ),
    ),
    'verb': words.VERBS,
    'verbs': [plural(verb) for verb in words.VERBS],
    'past': [past(verb) for verb in words.VERBS],
    'gerund': [gerund(verb) for verb in words.VERBS],
    'weather': ('rain', 'snow', 'fog', 'sunshine', 'thunder', 'hail', 'mist', 'frost', 'drizzle', 'lightning', 'sleet'),
    'wind': ('breeze', 'gale', 'storm', 'wind', 'hurricane'),
}
_REMARKS = (
    # people and deeds
    '<person> <past> <object> <when>',
    '<person> <past> <object> <where>',
    '<person> <adverb> <past> <object>',
    '<person> will <verb> <object> <when>',
    '<person> <verbs> <object> <where>',
    'did <name> <verb> <object> <when>',
    '<pronoun> <past> <object> and <past> <object>',
    'please <verb> <object> <where>',
    'can you <verb> <object> <when>',
    '<name> was <gerund> <object> <where>',
    '<gerund> <object> is <adjective> for <jobs>',
    'who <past> <object> <where>',
    "don't <verb> <object> until <date>",
    "we couldn't <verb> <object> <when>",
    "<name> hasn't <past> <object>",
    # shopping and orders
    'i would like <count> <things> and <weight> of <food>',
    'the <adjective> <thing> costs <price>',
    'two portions of <food> with <food> and <food>',
    'order number <digits> holds <count> <colour> <things>',
    '<weight> of <food> for <price>',
    'do you sell <colour> <things> of <material>',
    '<name> paid <price> for <object>',
    'a <material> <thing> with a <colour> <thing>',
    'we have no <food> but plenty of <food>',
    '<share> of the <things> are <colour>',
    # dates, times, appointments
    'the <topic> begins <when>',
    '<name> has an appointment with the <job> <when>',
    'the <site> opens at <clock>',
    'the <topic> of <name> is <when>',
    'meet me <where> at <clock>',
    '<person> was born in <place> on <date>',
    # places, directions, transport
    'turn <side> at the <site> and walk <measure>',
    'the <transport> to <place> leaves at <clock>',
    'take the <transport> from <place> to <place>',
    '<name> lives at <address>',
    'the <site> is <measure> <side> of <place>',
    'is there a <site> <where>',
    '<count> <vehicles> were seen <where>',
    'the <ordinal> <transport> stops <where>',
    'platform <unit> for the <transport> to <place>',
    # numbers and spelling
    'the telephone number of <name> is <digits> <digits>',
    'the code is <letter> <letter> <digits>',
    '<number> plus <number> is less than <number>',
    'room <digits> on the <ordinal> floor',
    'flight <letter> <digits> to <place> is late',
    'the <topic> cost <price> in <year>',
    # weather and small talk
    '<weather> and <weather> <where> <when>',
    'a <adjective> <wind> from the <side> <when>',
    'how was the <topic> <where>',
    'it was <adjective> and <adjective> <when>',
    'what a <adjective> <topic> said <name>',
    'there is <weather> over the <sites> of <place>',
    # animals, thoughts
    '<count> <animals> and a <adjective> <animal> <where>',
    '<owner> <animal> <past> the <animal>',
    'the <colour> <animal> is <adjective>',
    '<topic> and <topic> are <adjective>',
    '<jobs> talk about <topic> and <topic>',
    '<name> wrote a <adjective> <thing> about <topic>',
    'in <place> the <topic> is <adverb> <adjective>',
    '<owner> <topic> was a <topic> for the <jobs>',
    '<animals> eat <food> but never <food>',
)
GRAMMAR: Mapping[str, Sequence[str]] = {**_NUMBERS, **_TIMES, **_PEOPLE, **_PLACES, **_THINGS, 'remark': _REMARKS}


def expand(symbol: str, source: random.Random) -> str:
    """A sentence of `symbol`, its alternatives drawn from `source`."""
    return _SYMBOL.sub(lambda inner: expand(inner[1], source), source.choice(GRAMMAR[symbol]))


def new_sentence(source: random.Random, used: set[str], characters: range) -> str:
    """A remark that is not in `used`, to which it is added, with a number of characters in `characters`."""
    while True:
        sentence = expand('remark', source)
        if len(sentence) in characters and sentence not in used:
            used.add(sentence)
            return sentence
