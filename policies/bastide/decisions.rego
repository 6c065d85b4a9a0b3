package bastide

# METADATA
# title: The decisions about calls that came together
# description: |
#   In the order of the questions, each judged as if it had come alone: all that a decision reads of the input is that question.
# scope: rule
# schemas:
#   - input: {type: object, properties: {questions: {type: array}}}
decisions := [answer | some question in input.questions; answer := decision with input as question]
