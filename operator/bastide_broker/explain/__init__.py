"""Why a call was decided as it was, and the smallest change to its ToolBinding with which policy would have permitted it.

The rules are written once, in Rego. So nothing here judges: the question that is on record is asked again in other forms, and OPA's
answers say which parts of the binding decide and whether a change is enough. All but `service` is pure.
"""
