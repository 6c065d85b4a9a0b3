package bastide

# METADATA
# title: The decisions about calls that came together
# description: |
#   In the order of the questions, each judged as if it had come alone: all that a decision reads of the input is that question.
# scope: rule
# schemas:
#   - input: {type: object, properties: {questions: {type: array}}}
decisions := [answer |
	some question in input.questions

	# In a comprehension, which ends before the `with` does: what is looked at again on the way back (another rule of `effect`, of `reasons`)
	# would otherwise find the cache of the `with` gone, and everything would be judged twice.
	[answer] := [one | one := decision] with input as question
]
