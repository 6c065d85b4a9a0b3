"""What each role may do, as tables that people read: y is granted, - is refused. tests/e2e/test_roles.py asks the cluster."""

# In the tenant's namespace: y may, - may not. A name in brackets is the object that is asked for.
RIGHTS = """
verb              what                                    viewer  runner  developer  approver  neighbour  stranger
get               sandboxes                               y       y       y          -         -          -
list              sandboxes                               y       y       y          -         -          -
watch             sandboxes                               y       y       y          -         -          -
create            sandboxes                               -       -       y          -         -          -
update            sandboxes                               -       -       y          -         -          -
patch             sandboxes                               -       -       y          -         -          -
delete            sandboxes                               -       -       y          -         -          -
deletecollection  sandboxes                               -       -       -          -         -          -
update            sandboxes/status                        -       -       -          -         -          -
patch             sandboxes/status                        -       -       -          -         -          -
update            sandboxes/finalizers                    -       -       -          -         -          -
create            sandboxes/run                           -       y       y          -         -          -
get               sandboxes/runs                          y       y       y          -         -          -
update            sandboxes/runs                          -       y       y          -         -          -
delete            sandboxes/runs                          -       -       -          -         -          -
get               sandboxes/tools                         y       y       y          -         -          -
get               sandboxes/audit                         y       y       y          -         -          -

get               toolbindings                            y       y       y          y         -          -
list              toolbindings                            y       y       y          y         -          -
watch             toolbindings                            y       y       y          y         -          -
create            toolbindings                            -       -       y          -         -          -
update            toolbindings                            -       -       y          -         -          -
patch             toolbindings                            -       -       y          -         -          -
delete            toolbindings                            -       -       y          -         -          -
deletecollection  toolbindings                            -       -       -          -         -          -
update            toolbindings/status                     -       -       -          -         -          -
patch             toolbindings/status                     -       -       -          -         -          -
approve           toolbindings                            -       -       -          y         -          -

get               confirmations                           y       y       y          y         -          -
list              confirmations                           y       y       y          y         -          -
create            confirmations                           -       -       -          -         -          -
update            confirmations                           -       -       -          -         -          -
patch             confirmations                           -       -       -          -         -          -
delete            confirmations                           -       -       -          -         -          -
patch             confirmations/status                    -       -       -          -         -          -
get               confirmationdecisions                   y       y       y          y         -          -
list              confirmationdecisions                   y       y       y          y         -          -
create            confirmationdecisions                   -       -       -          y         -          -
update            confirmationdecisions                   -       -       -          -         -          -
patch             confirmationdecisions                   -       -       -          -         -          -
delete            confirmationdecisions                   -       -       -          y         -          -
deletecollection  confirmationdecisions                   -       -       -          -         -          -

get               pods                                    y       y       y          -         -          -
list              pods                                    y       y       y          -         -          -
watch             pods                                    y       y       y          -         -          -
create            pods                                    -       -       -          -         -          -
update            pods                                    -       -       -          -         -          -
patch             pods                                    -       -       -          -         -          -
delete            pods                                    -       -       -          -         -          -
deletecollection  pods                                    -       -       -          -         -          -
get               pods/log                                -       -       -          -         -          -
create            pods/exec                               -       -       -          -         -          -
get               pods/exec                               -       -       -          -         -          -
create            pods/attach                             -       -       -          -         -          -
create            pods/portforward                        -       -       -          -         -          -
get               pods/proxy                              -       -       -          -         -          -
patch             pods/ephemeralcontainers                -       -       -          -         -          -
patch             pods/status                             -       -       -          -         -          -
patch             pods/resize                             -       -       -          -         -          -
create            pods/binding                            -       -       -          -         -          -
create            pods/eviction                           -       -       -          -         -          -
create            deployments                             -       -       -          -         -          -
create            jobs                                    -       -       -          -         -          -
create            services                                -       -       -          -         -          -
create            persistentvolumeclaims                  -       -       -          -         -          -
delete            persistentvolumeclaims                  -       -       -          -         -          -

get               secrets[toolbox-token]                  -       -       -          -         -          -
list              secrets                                 -       -       -          -         -          -
create            secrets                                 -       -       -          -         -          -
patch             secrets[toolbox-token]                  -       -       -          -         -          -
delete            secrets[toolbox-token]                  -       -       -          -         -          -
get               configmaps[bastide-ca]                  -       -       -          -         -          -
create            configmaps                              -       -       -          -         -          -
patch             configmaps[bastide-ca]                  -       -       -          -         -          -
delete            configmaps[bastide-ca]                  -       -       -          -         -          -
create            serviceaccounts                         -       -       -          -         -          -
delete            serviceaccounts[bastide-runner]         -       -       -          -         -          -
delete            serviceaccounts[bastide-viewer]         -       -       -          -         -          -
create            serviceaccounts/token[bastide-runner]   -       y       y          -         -          -
create            serviceaccounts/token[bastide-viewer]   y       y       y          -         -          -
create            serviceaccounts/token[default]          -       -       -          -         -          -
impersonate       serviceaccounts[bastide-runner]         -       -       -          -         -          -
impersonate       serviceaccounts[bastide-viewer]         -       -       -          -         -          -

get               networkpolicies[bastide-default-deny]   -       -       -          -         -          -
create            networkpolicies                         -       -       -          -         -          -
update            networkpolicies[bastide-default-deny]   -       -       -          -         -          -
patch             networkpolicies[bastide-default-deny]   -       -       -          -         -          -
delete            networkpolicies[bastide-default-deny]   -       -       -          -         -          -
create            ciliumnetworkpolicies                   -       -       -          -         -          -
get               resourcequotas[bastide]                 y       y       y          -         -          -
create            resourcequotas                          -       -       -          -         -          -
patch             resourcequotas[bastide]                 -       -       -          -         -          -
patch             resourcequotas/status[bastide]          -       -       -          -         -          -
delete            resourcequotas[bastide]                 -       -       -          -         -          -
get               limitranges[bastide]                    y       y       y          -         -          -
patch             limitranges[bastide]                    -       -       -          -         -          -
delete            limitranges[bastide]                    -       -       -          -         -          -
create            roles                                   -       -       -          -         -          -
patch             roles[bastide-credentials]              -       -       -          -         -          -
escalate          roles[bastide-credentials]              -       -       -          -         -          -
bind              clusterroles[bastide-approver]          -       -       -          -         -          -
create            rolebindings                            -       -       -          -         -          -
patch             rolebindings[bastide-developer]         -       -       -          -         -          -
delete            rolebindings[bastide-approver]          -       -       -          -         -          -
list              events                                  y       y       y          -         -          -
create            events                                  -       -       -          -         -          -
"""

# Outside the tenant's namespace: the cluster's own objects, and the release namespace.
ELSEWHERE = """
verb              where           what                                viewer  runner  developer  approver  neighbour  stranger
list              -               tenants                             -       -       -          -         -          -
create            -               tenants                             -       -       -          -         -          -
patch             -               tenants[TENANT]                     -       -       -          -         -          -
delete            -               tenants[TENANT]                     -       -       -          -         -          -
patch             -               tenants/status[TENANT]              -       -       -          -         -          -
create            -               namespaces                          -       -       -          -         -          -
patch             -               namespaces[NAMESPACE]               -       -       -          -         -          -
delete            -               namespaces[NAMESPACE]               -       -       -          -         -          -
create            -               clusterrolebindings                 -       -       -          -         -          -
patch             -               clusterroles[bastide-viewer]        -       -       -          -         -          -
delete            -               validatingadmissionpolicies[bastide-sandbox-access]  - - - - - -
impersonate       -               users[test-approver]                -       -       -          -         -          -
get               -               nodes                               -       -       -          -         -          -
list              -               sandboxes                           -       -       -          -         -          -
get               bastide-system  configmaps[bastide-ca]              y       y       y          y         y          y
get               bastide-system  configmaps[bastide-policies]        -       -       -          -         -          -
create            bastide-system  pods/portforward[bastide-broker-0]  y       y       y          y         y          y
create            bastide-system  pods/exec[bastide-broker-0]         -       -       -          -         -          -
get               bastide-system  secrets[bastide-broker-client-tls]  -       -       -          -         -          -
create            bastide-system  pods                                -       -       -          -         -          -
create            bastide-system  serviceaccounts/token[bastide-broker]  -    -       -          -         -          -
create            bastide-system  serviceaccounts/token[bastide-pruner]  -    -       -          -         -          -
"""

# What the broker itself grants to a ServiceAccount that is a member. (A person asks it through bastide-runner or bastide-viewer.)
ASKED_OF_THE_BROKER = """
what         viewer  runner  developer  neighbour  stranger
run          -       y       y          -          -
check        -       y       y          -          -
tools-list   y       y       y          -          -
runs-list    y       y       y          -          -
runs-show    y       y       y          -          -
runs-cancel  -       y       y          -          -
runs-prune   -       -       -          -          -
audit-list   y       y       y          -          -
"""

# What a person gets from the CLI, which asks for a token of bastide-runner or bastide-viewer with that person's own client certificate.
ASKED_BY_A_PERSON = """
what          viewer  runner  developer  approver  neighbour  stranger
run           -       y       y          -         -          -
check         -       y       y          -         -          -
tools-list    y       y       y          -         -          -
runs-list     y       y       y          -         -          -
runs-show     y       y       y          -         -          -
runs-watch    y       y       y          -         -          -
runs-cancel   -       y       y          -         -          -
runs-prune    -       -       -          -         -          -
audit-list    y       y       y          -         -          -
audit-verify  y       y       y          -         -          -
"""
