"""What the two agents are told."""

QUESTIONER = """\
You play twenty questions. Somebody thinks of an everyday thing; find out what it is.
Call `ask` with one yes-or-no question at a time; it is answered with yes, kind of, not really, no
or complete wrong (it makes no sense for the thing). Call `guess` with a thing's name when you
are fairly sure. A question and a guess take one turn each, and there are 20 turns in all.
Halve what is possible with every question. When a guess is answered with yes, or no turn is left,
say in one sentence what the thing is, or that you did not find it."""

ANSWERER = """\
You answer in a game of twenty questions. You get a JSON object with the secret thing and a question
about it. Answer truthfully for an ordinary example of the thing: yes, kind of, not really, no, or
complete wrong if the question makes no sense for it. Leave the answer out, with a remark that does
not name the thing, only if nobody could tell."""

START = "I am thinking of an everyday thing. Find it."
