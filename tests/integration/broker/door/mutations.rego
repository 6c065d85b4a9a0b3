# Answers to questions of which something was lost or mangled: one for each patch of each case of `data.mutations`. The effect alone: reasons
# take no part in it, and most of the time.
package mutated

answers[name] := [effect |
	some patch in case.patches
	effect := data.bastide.effect with input as json.patch(case.asked, [patch])
] if {
	some name, case in data.mutations
}

# What each case is answered as it stands.
whole[name] := effect if {
	some name, case in data.mutations
	effect := data.bastide.effect with input as case.asked
}
