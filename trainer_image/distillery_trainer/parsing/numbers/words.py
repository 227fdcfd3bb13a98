"""Words that change what a number beside them says, and words that introduce a result."""

from __future__ import annotations

import re

MINUS = re.compile(
    r"(?:\b(?:minus|negative|moins|menos|meno|\u043c\u0438\u043d\u0443\u0441)\s+"
    r"|(?:\u8d1f|\u8ca0|\u30de\u30a4\u30ca\u30b9|\ub9c8\uc774\ub108\uc2a4)\s*)(?=[$\u20ac\u00a3]?\s?\.?\d)",
    re.IGNORECASE,
)
"""A minus sign as a word, before a number."""

CORRECTION = re.compile(
    r"\b(?:wait|actually|oops|correction|corrected|mistake|mistaken|wrong|incorrect|incorrectly|sorry|apolog\w*|"
    r"scratch that|second thought|re-?check\w*|re-?calculat\w*|re-?consider\w*|re-?think\w*|re-?comput\w*|hmm+|hold on|"
    r"should be|should have been|misread|instead|rather|thought|initially|at first|however|but|no,|not|typo|"
    r"ignore|disregard|alternatively|double-?check\w*)(?!\w)|n't\b|\u4e0d\u5bf9|\u7b49\u7b49|\u9519\u4e86|\u66f4\u6b63",
    re.IGNORECASE,
)
"""What stands between an answer and another one that replaces it."""

DOUBTED = r"\b(?:doubt\w*|disagree\w*|disput\w+|den(?:y|ies|ied|ying)|reject\w*|refut\w+|unlikely|hardly)\b"
"""Verbs and adverbs of somebody who holds that a number is not the answer."""

NOT_STATED = re.compile(
    r"\b(?:if|wrong|incorrect|not|never|no|suppose|assume|unless|whether|might|may|false|mistaken\w*|common|some|"
    r"someone|says?|claims?|could|example|instead of|format|guess|first|second|part|previous|old)\b|n't\b"
    rf"|{DOUBTED}",
    re.IGNORECASE,
)
"""What makes "the answer is" after it another one's, a condition, or a denial."""

WITHDRAWAL = re.compile(
    r"\b(?:wait|oops|correction|my mistake|a mistake|made an error|that is wrong|that's wrong|is incorrect|was wrong|"
    r"that was wrong|scratch that|hold on|on second thought|let me re-?\w+|hmm+|actually)\b"
    r"|\u4e0d\u5bf9|\u7b49\u7b49|\u9519\u4e86",
    re.IGNORECASE,
)
"""What takes an answer back even where no other one follows."""

NEARLY = re.compile(
    r"(?:[-+*/^\u00d7\u00f7\u00b7\u00b1\u2248~<>\u2264\u2265\u2260\u2014]|\d"
    r"|\b(?:about|around|approximately|approx\.?|roughly|nearly|almost|than|least|most|over|under|between|or|and|to|"
    r"half of|twice|times|plus|minus|up to|not|of))[\s$({\[*]*\Z",
    re.IGNORECASE,
)
"""What, before a number, makes it part of another one or an approximation."""

DOUBT = re.compile(
    r"\b(?:not|never|neither|nor|no|none|cannot|unable|impossible|unknown|unclear|unsure|uncertain|undefined|sorry|"
    r"insufficient|missing|without|if|unless|assum\w+|suppos\w+|let|let's|whether|maybe|perhaps|possibly|probably|"
    r"might|(?-i:may)|could|would|should|seems?|guess\w*|hypothetical\w*|approx\w*|about|around|roughly|nearly|almost|circa|"
    r"some|somewhere|between|under|over|above|below|beyond|more|less|fewer|greater|least|most|up to|than|half|twice|"
    r"double|triple|thrice|wrong|incorrect|mistake|mistaken|error|except|wait|actually|oops|hmm+|instead|rather|either|or|"
    r"but|however|initially|at first|thought|false|example|e\.g|rounds?|rounded|close to|estimated?|estimates?|"
    r"infinite|step|question|problem|option|exercise|square|cube|root|log|ln|sin|cos|tan|factorial|part|per)(?!\w)"
    r"|n't\b|\bfor instance\b|[?\u2248\u00b1~<>\u2264\u2265\u2260\uff1f]"
    r"|\u4e0d|\u6ca1|\u7ea6|\u5927\u6982|\u5de6\u53f3|\u975e|\u7121|\u65e0"
    r"|\b(?:no es|ne|pas|nicht|kein\w*|non|n\u00e3o|\u043d\u0435|etwa|ungef\u00e4hr|environ|circa|aproximadamente|unos)"
    rf"\b|\bcasi\b|{DOUBTED}",
    re.IGNORECASE,
)
"""What makes a sentence say something else than that its number is the result."""

RESULT_VERB = (
    r"(?:is|are|was|were|be|equals?|equal to|makes?|made|gives?|gave|gets?|got|costs?|has|have|had|takes?|took|needs?|"
    r"needed|sells?|sold|earns?|earned|pays?|paid|spends?|spent|saves?|saved|eats?|ate|leaves?|left|totals?|becomes?|"
    r"contains?|buys?|bought|reads?|runs?|ran|walks?|walked|drives?|drove|travels?|travell?ed|scores?|scored|won|"
    r"receives?|received|weighs?|weighed|comes to|came to|adds up to|amounts to|yields?|produces?|remains?|owes?|owed|"
    r"es|son|cuesta|est|sont|co\u00fbte|vaut|ist|sind|kostet|betr\u00e4gt|ergibt|\u00e8|sono|costa|\u00e9|s\u00e3o|"
    r"custa|zijn|\u00e4r|er|\u0440\u0430\u0432\u043d\u043e|\u0440\u0430\u0432\u0435\u043d|\u0441\u0442\u043e\u0438\u0442)"
)
"""A verb whose object, if it is a number, is what the sentence reports."""

FILLER = (
    r"(?:therefore|thus|hence|then|so|simply|just|exactly|only|still|now|also|altogether|indeed|clearly|of course|"
    r"the number|the value|a total of|a sum of|equal to|as follows|given by|found to be|in total|precisely)"
)
"""Words between a verb and its number that change nothing."""

NUMBER_WORD = (
    r"(?:a|an|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|fifteen|sixteen|"
    r"seventeen|eighteen|nineteen|twenty|thirty|forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|half)"
)
CHANGES_VALUE = re.compile(
    r"\b(?:or|times|plus|minus|divided|multiplied|squared|cubed|doubled|tripled|quadrupled|halved|factorial|choose|mod|modulo|more|less|fewer|greater|"
    r"dozens?|hundreds?|thousands?|millions?|billions?|trillions?|half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|"
    r"sevenths?|eighths?|ninths?|tenths?|hundredths?|thousandths?|lakhs?|crores?|scores?|gross|pi|root|out of|"
    r"or so|wrong|incorrect|not|n't|unless|otherwise|if|base|binary|hex\w*|octal|[ap]\.?m|o'?clock|bce?|ad|ce|"
    r"remainders?|approximately|approx|est\.?|estimated?|about|roughly|ish|something|odd|mio|mrd|mln|mld|bln|bn|mn|tsd|mill\w*|mil|mille|tausend|"
    r"millionen|milliarden|millones|millions|mld|permille|bps|basis|percentage|points?|repeating|recurring|periodic|bar|below|under|beneath|tens|"
    r"sin|cos|tan|log|ln|sqrt|"
    r"lacs?|grand|pairs?|couples?|oder|ou|o|\u043e\u0440"
    rf"|(?:and|to|over|by|point|comma)\s+{NUMBER_WORD})(?!\w)"
    r"|[\u4e07\u842c\u5104\u4ebf\u5343\u767e\u500d\u6210\u6298\u5206\u534a\u591a\u4f59\u9918\u5de6\u53f3\u5272]|\u4ee5[\u4e0a\u4e0b\u5185]"
    r"|[\u4e0d\u9519\u932f]|\u306a\u3044|\u307e\u305b\u3093|\uc544\ub2c8|\uc544\ub2d9|\uc54a|\uc5c6"
    r"|\b(?:nicht|falsch|faux|falso|pas|non|\u043d\u0435\w*)\b",
    re.IGNORECASE,
)
"""Words after a number that make it part of another one, or no answer."""

EXPLANATION = re.compile(
    r"\b(?:because|since|as|so|when|which|where|given|thanks|due|after|giving|obtained|derived|calculated|computed)\b"
    r"|[\u2014(]|\u56e0\u4e3a|\u56e0\u70ba",
    re.IGNORECASE,
)
"""Where the sentence about a number turns to how it was found."""
UNIT = re.compile(
    r"(?:[cmkd]?m|[mk]?g|[cm]?l|L|mL|s|ms|h|hrs?|mins?|secs?|sec|lbs?|oz|ft|in|yds?|mi|mph|kph|kmh|k?Wh|[kM]?W|k?J|N|"
    r"k?Pa|[mk]?V|[mk]?A|[kMG]?Hz|[MGT]B|kB|KB|rpm|px|cents?|dollars?|euros?|USD|EUR|GBP|days?|hours?|minutes?|years?|"
    r"ha|mol|cal|kcal|\u00b0[CF]?|\u00ba[CF]?|\u00b5m|\u03bcm|\u03a9)(?![^\W\d_])"
)
"""A unit that may follow the digits without a space."""
LETTER_UNIT = frozenset("mgslhLJNWVACFdaI\u20ac\u0443\u0432\u0438")
"""A single letter that may follow after a space: a unit, or a word of one letter."""
