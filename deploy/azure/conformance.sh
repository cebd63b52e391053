#!/bin/sh
# Finds out, on a DISPOSABLE node pool, what the documents about AKS leave open and gpuscale has to live with.
#
#   SUBSCRIPTION=… RESOURCE_GROUP=… CLUSTER=… POOL=… I_KNOW_THIS_POOL_IS_DISPOSABLE=yes sh conformance.sh
#
# It adds at most one node, deletes one machine without draining it, changes a tag and a label, aborts an operation, and puts
# count, tags and labels back at its end, also when it is interrupted. It prints one line for each item: `item: finding`.
#
# Needs sh, curl and jq. On https it also needs a token: TOKEN, or else that of `az account get-access-token`. (`az rest`
# itself shows no headers of an answer, and headers are half of what is asked here.)
#
#   ARM_ENDPOINT         default https://management.azure.com; http is for loopback addresses alone, and goes without a token
#   API_VERSION          default 2026-08-01
#   ARM_AUDIENCE         of the token, default ARM_ENDPOINT
#   PREVIEW_API_VERSION  default 2026-08-02-preview, which has PATCH
#   STEPS                default "etag grow omit delete patch abort"
#   OPERATION_TIMEOUT    seconds that one operation may take, default 1800
#   POLL_SECONDS         seconds between two looks where no Retry-After is given, default 10
#   TRANSCRIPT           a directory for all answers, which is kept; tokens are not in it
#
# Exit codes: 0 all settled, as gpuscale expects; 1 something is not as it expects; 2 refused, nothing was changed;
# 3 something could not be settled; 4 the pool is not as it was: see to it by hand.
#
# shellcheck disable=SC2016 # what is in single quotes is for jq and awk
set -u

subscription=${SUBSCRIPTION:-} group=${RESOURCE_GROUP:-} cluster=${CLUSTER:-} pool=${POOL:-}
endpoint=${ARM_ENDPOINT:-https://management.azure.com}
endpoint=${endpoint%/}
stable=${API_VERSION:-2026-08-01}
preview=${PREVIEW_API_VERSION:-2026-08-02-preview}
steps=${STEPS:-etag grow omit delete patch abort}
timeout=${OPERATION_TIMEOUT:-1800}
pause=${POLL_SECONDS:-10}
most_nodes=3
unexpected=0 unsettled=0 changed=0 counter=0

# ---- what is said ----------------------------------------------------------------------------------------------------

say() { printf '%s: %s\n' "$1" "$2"; }
unlike() { say "$1" "$2 (NOT AS EXPECTED)"; unexpected=1; }
unknown() { say "$1" "not settled: $2"; unsettled=1; }
refuse() { printf 'refused: %s\n' "$1" >&2; exit 2; }

# ---- before anything is asked ----------------------------------------------------------------------------------------

for tool in curl jq; do
    command -v "$tool" >/dev/null 2>&1 || refuse "$tool is missing; install it (it needs sh, curl and jq)"
done
[ "${I_KNOW_THIS_POOL_IS_DISPOSABLE:-}" = yes ] ||
    refuse 'machines are deleted without draining; set I_KNOW_THIS_POOL_IS_DISPOSABLE=yes if that is fine'
[ -n "$subscription" ] || refuse 'SUBSCRIPTION is not set'
[ -n "$group" ] || refuse 'RESOURCE_GROUP is not set'
[ -n "$cluster" ] || refuse 'CLUSTER is not set'
[ -n "$pool" ] || refuse 'POOL is not set'
case "$subscription$group$cluster$pool" in
    *[!A-Za-z0-9._\(\)-]*) refuse 'a name has characters that no name in Azure has' ;;
esac
case "$timeout$pause" in
    *[!0-9]*) refuse 'OPERATION_TIMEOUT and POLL_SECONDS are whole seconds' ;;
esac
for step in $steps; do
    case $step in
        etag | grow | omit | delete | patch | abort) ;;
        *) refuse "STEPS has $step; there are etag, grow, omit, delete, patch and abort" ;;
    esac
done
case $endpoint in
    *[?#@\ ]*) refuse "ARM_ENDPOINT is no plain address: $endpoint" ;;
    https://*) encrypted=yes ;;
    http://127.0.0.1 | http://127.0.0.1[:/]* | http://localhost | http://localhost[:/]* | http://\[::1\]*) encrypted=no ;;
    *) refuse "ARM_ENDPOINT is neither https nor http on this machine: $endpoint" ;;
esac

umask 077
secret=$(mktemp -d) || refuse 'no temporary directory'
work=${TRANSCRIPT:-$secret}
mkdir -p "$work" || refuse "TRANSCRIPT cannot be made: $work"

# shellcheck disable=SC2317,SC2329 # called by the trap
cleanup() {
    ended=$?
    trap 'say restore "interrupted; see to the count of $pool by hand"; rm -rf "$secret"; exit 4' INT TERM HUP
    if [ "$changed" = 1 ]; then
        if restore; then
            say restore "count $first_count, tags and labels as they were"
        else
            say restore "FAILED; the count was $first_count; see to it by hand, with az aks nodepool scale or the portal"
            ended=4
        fi
    fi
    rm -rf "$secret"
    exit "$ended"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# ---- requests --------------------------------------------------------------------------------------------------------

now() { date +%s; }

# The token goes to curl in a file that only this user can read, never on a command line.
token_at=
authorize() {
    if [ "$encrypted" = no ]; then
        printf 'noproxy = "*"\n' >"$secret/curl"
        return 0
    fi
    [ -n "$token_at" ] && [ $(($(now) - token_at)) -lt 1200 ] && return 0
    if [ -n "${TOKEN:-}" ]; then
        given=$TOKEN
    else
        given=$(az account get-access-token --resource "${ARM_AUDIENCE:-$endpoint}" --query accessToken \
            --output tsv) || return 1
    fi
    printf 'header = "Authorization: Bearer %s"\n' "$given" >"$secret/curl"
    token_at=$(now)
}

# request METHOD URL [FILE] [IF-MATCH]: one request. Sets STATUS (000 if there is no answer), $work/head and $work/body.
request() {
    : >"$work/head"
    : >"$work/body"
    STATUS=000
    authorize || return 0
    req_method=$1 req_url=$2 req_file=${3:-} req_match=${4:-}
    set -- --silent --max-time 120 --config "$secret/curl" --request "$req_method" \
        --dump-header "$work/head" --output "$work/body" --write-out '%{http_code}'
    if [ -n "$req_file" ]; then
        set -- "$@" --header 'Content-Type: application/json' --data-binary "@$req_file"
    elif [ "$req_method" = POST ]; then
        set -- "$@" --data ''
    fi
    [ -n "$req_match" ] && set -- "$@" --header "If-Match: $req_match"
    STATUS=$(curl "$@" "$req_url") || STATUS=000
    if [ -n "${TRANSCRIPT:-}" ]; then
        counter=$((counter + 1))
        number=$(printf '%04d' "$counter")
        {
            printf '%s %s\nIf-Match: %s\n\n' "$req_method" "$req_url" "$req_match"
            cat "$work/head" "$work/body"
        } >"$work/$number-$req_method.txt"
    fi
}

# header NAME (in lower case): of the last answer.
header() {
    awk -v name="$1" '{
        line = $0; sub(/\r$/, "", line); colon = index(line, ":")
        if (colon && tolower(substr(line, 1, colon - 1)) == name) {
            value = substr(line, colon + 1); gsub(/^[ \t]+|[ \t]+$/, "", value); found = value
        }
    } END { print found }' "$work/head"
}

# How long the last answer says to wait, in seconds; at least 1, at most 300. Dates are not read.
wait_seconds() {
    wait_for=$(header retry-after)
    case $wait_for in '' | *[!0-9]*) wait_for=$pause ;; esac
    [ "$wait_for" -ge 1 ] || wait_for=1
    [ "$wait_for" -le 300 ] || wait_for=300
    printf '%s' "$wait_for"
}

# send METHOD URL [FILE] [IF-MATCH]: a request that waits while it is throttled or the pool is busy. What only reads is
# tried again where there is no answer.
send() {
    send_until=$(($(now) + timeout)) send_lost=0
    while :; do
        request "$@"
        case $STATUS in
            429) ;;
            5?? | 000)
                send_lost=$((send_lost + 1))
                { [ "$1" = GET ] && [ "$send_lost" -lt 5 ]; } || return 0
                ;;
            409) grep -E -i -q 'another ?operation|in progress' "$work/body" || return 0 ;;
            *) return 0 ;;
        esac
        [ "$(now)" -lt "$send_until" ] || return 0
        sleep "$(wait_seconds)"
    done
}

accepted() { case $STATUS in 2??) return 0 ;; *) return 1 ;; esac }

# What the last answer was, in words.
reply() {
    if [ "$STATUS" = 000 ]; then
        printf 'no answer from %s' "$endpoint"
        return
    fi
    reply_words="HTTP $STATUS"
    if accepted; then
        for reply_name in azure-asyncoperation location retry-after; do
            [ -n "$(header "$reply_name")" ] && reply_words="$reply_words, $reply_name"
        done
        [ -n "$(header retry-after)" ] && reply_words="$reply_words $(header retry-after)"
    else
        reply_words="$reply_words $(error_words "$work/body" .error)"
    fi
    printf '%s' "$reply_words"
}

# error_words FILE PATH: code and the beginning of the message.
error_words() {
    jq -r "$2"' // . | if type == "object" then "\(.code // "no code"), \(.message // "no message")" else "no error" end' \
        "$1" 2>/dev/null |
        tr '\r\n' '  ' | cut -c 1-240 | sed 's/ *$//'
}

address() {
    printf '%s/subscriptions/%s/resourceGroups/%s/providers/Microsoft.ContainerService/' "$endpoint" "$subscription" "$group"
    printf 'managedClusters/%s/agentPools/%s%s?api-version=%s' "$cluster" "$pool" "$1" "${2:-$stable}"
}

# Reads the pool into $work/pool.json, COUNT, ETAG (without quotes) and STATE.
read_pool() {
    send GET "$(address '')"
    [ "$STATUS" = 200 ] || return 1
    COUNT=$(jq -r '.properties.count // empty' "$work/body") || return 1
    case $COUNT in '' | *[!0-9]*) return 1 ;; esac
    cp "$work/body" "$work/pool.json"
    ETAG=$(jq -r '.properties.eTag // "" | ltrimstr("\"") | rtrimstr("\"")' "$work/pool.json")
    STATE=$(jq -r '.properties.provisioningState // "none"' "$work/pool.json")
}

# Names of the machines, one a line, into a file.
machines() {
    send GET "$(address /machines)"
    [ "$STATUS" = 200 ] && jq -r '.value[].name' "$work/body" 2>/dev/null | sort >"$1"
}

# The pool as gpuscale sends it back: nothing left out but what the service writes, and nodeImageVersion, which rolls back.
sent='del(.id, .name, .type, .systemData)
    | .properties |= del(.eTag, .provisioningState, .currentOrchestratorVersion, .status,
                         .virtualMachineNodesStatus, .nodeImageVersion)'

# body FILTER: the pool as it was read, changed by a filter of jq, in $work/put.json.
body() {
    jq -c --argjson count "${count:-0}" --slurpfile first "$secret/first.json" "$sent | $1" \
        "$work/pool.json" >"$work/put.json"
}

# Whether an address is of the same server: a token goes along.
own() {
    own_scheme=${endpoint%%://*} own_host=${endpoint#*://} own_host=${own_host%%/*}
    own_other=${1#*://} own_other=${own_other%%[/?]*}
    [ "${1%%://*}" = "$own_scheme" ] || return 1
    case $own_other in
        *@*) return 1 ;;
        "$own_host" | *."$own_host") return 0 ;;
        *) return 1 ;;
    esac
}

# Takes the address of an operation from the last answer.
operation() {
    OPERATION=$(header azure-asyncoperation)
    [ -n "$OPERATION" ] || OPERATION=$(header location)
    BEGAN=$(now)
    FELL=
}

# ask_operation: one look at $OPERATION. Sets OUTCOME: Running, or the word that ends it.
ask_operation() {
    request GET "$OPERATION"
    case $STATUS in
        200 | 201)
            OUTCOME=$(jq -r '.status // .properties.provisioningState // "Succeeded"' "$work/body" 2>/dev/null)
            [ -n "$OUTCOME" ] || OUTCOME=Succeeded
            ;;
        204) OUTCOME=Succeeded ;;
        202 | 429 | 5?? | 000) OUTCOME=Running ;;
        *) OUTCOME="HTTP $STATUS" ;;
    esac
    case $OUTCOME in
        Succeeded | Failed | HTTP*) ;;
        Canceled | Cancelled) OUTCOME=Canceled ;;
        *) OUTCOME=Running ;;
    esac
}

# Follows $OPERATION to its end, then waits until the pool is steady. Sets OUTCOME, TOOK and WHY. With WATCHED set, FELL is
# the number of seconds after which the pool showed another count than that.
follow() {
    OUTCOME=none WHY=
    follow_until=$(($(now) + timeout))
    if [ -n "$OPERATION" ] && ! own "$OPERATION"; then
        WHY=', its address is at another server and was not asked'
        OPERATION=
    fi
    while [ -n "$OPERATION" ]; do
        if [ "$(now)" -ge "$follow_until" ]; then
            OUTCOME=timeout
            break
        fi
        sleep "$(wait_seconds)"
        ask_operation
        [ "$OUTCOME" = Failed ] && WHY=", $(error_words "$work/body" .error)"
        [ "$OUTCOME" = Running ] || break
        if [ -n "${WATCHED:-}" ] && [ -z "$FELL" ]; then
            cp "$work/head" "$work/kept"
            read_pool && [ "$COUNT" != "$WATCHED" ] && FELL=$(($(now) - BEGAN))
            cp "$work/kept" "$work/head"
        fi
    done
    TOOK=$(($(now) - BEGAN))
    steady
}

# Waits until nothing is being done to the pool.
steady() {
    steady_until=$(($(now) + timeout))
    while read_pool; do
        case $STATE in Succeeded | Failed | Canceled | none) return 0 ;; esac
        [ "$(now)" -lt "$steady_until" ] || return 1
        sleep "$pause"
    done
    return 1
}

# finish ITEM: follows the operation of a write and says what became of it.
finish() {
    finish_word=$(printf '%s' "$OPERATION" | sed -n 's|.*/locations/[^/]*/\([^/?]*\).*|\1|p')
    follow
    finish_words="$OUTCOME after $TOOK s$WHY"
    [ -n "$finish_word" ] && finish_words="$finish_words; path word $finish_word"
    finish_words="$finish_words; the pool is then $STATE with count $COUNT"
    case $OUTCOME in
        Succeeded) say "$1" "$finish_words" ;;
        none) say "$1" "no operation to follow$WHY; the pool is $STATE with count $COUNT" ;;
        *) unlike "$1" "$finish_words" ;;
    esac
}

# Puts count, tags and labels back. Says nothing.
restore() {
    for restore_try in 1 2 3 4 5; do
        if ! steady; then
            sleep "$pause"
            continue
        fi
        if jq -e --slurpfile first "$secret/first.json" '.properties as $is | $first[0].properties as $was
            | $is.count == $was.count and ($is.tags // {}) == ($was.tags // {})
              and ($is.nodeLabels // {}) == ($was.nodeLabels // {})' "$work/pool.json" >/dev/null; then
            return 0
        fi
        [ "$restore_try" = 5 ] && return 1
        body '.properties.count = $first[0].properties.count
            | .properties.tags = ($first[0].properties.tags // {})
            | .properties.nodeLabels = ($first[0].properties.nodeLabels // {})' || return 1
        send PUT "$(address '')" "$work/put.json" "\"$ETAG\""
        if accepted; then
            operation
            follow
        else
            sleep "$pause"
        fi
    done
    return 1
}

# ---- the pool may be used --------------------------------------------------------------------------------------------

authorize || refuse 'there is no token: set TOKEN, or install az and log in'
if ! read_pool; then refuse "the pool cannot be read: $(reply)"; fi
cp "$work/pool.json" "$secret/first.json"
first_count=$COUNT first_etag=$ETAG
is() { jq -r ".properties.$1 // \"not said\"" "$work/pool.json"; }
[ "$(is enableAutoScaling)" != true ] || refuse 'the cluster autoscaler is on (enableAutoScaling)'
[ "$(is mode)" = User ] || refuse "the mode of the pool is $(is mode), and only User will do"
[ "$first_count" -le "$most_nodes" ] ||
    refuse "the pool has $first_count nodes, and more than $most_nodes are not disposable"
[ "$(is type)" != VirtualMachines ] || refuse 'the pool is of the type VirtualMachines, which has no count to write'
[ "$(jq -r '.properties.powerState.code // ""' "$work/pool.json")" != Stopped ] || refuse 'the pool is stopped'
[ "$STATE" = Succeeded ] || refuse "the pool is $STATE; wait until it is Succeeded"

say pool "$pool of $cluster: $first_count nodes of $(is vmSize), at $endpoint with $stable and $preview"
if [ -n "$ETAG" ]; then say etag 'properties.eTag is there'; else unlike etag 'properties.eTag is missing'; fi
say ratelimit "$(awk 'tolower($0) ~ /^x-ms-ratelimit/ { sub(/\r$/, ""); printf "%s%s", sep, $0; sep = ", " }
    END { if (!sep) printf "no x-ms-ratelimit headers in the answer to a GET" }' "$work/head")"
changed=1

# ---- the steps -------------------------------------------------------------------------------------------------------

# unchanged ITEM IF-MATCH: the pool back as it is.
unchanged() {
    body . || return 1
    send PUT "$(address '')" "$work/put.json" "$2"
    accepted || return 1
    unchanged_words=$(reply) unchanged_etag=$ETAG
    operation
    follow
    if [ "$ETAG" = "$unchanged_etag" ]; then unchanged_etag=kept; else unchanged_etag=changed; fi
    say "$1" "accepted: $unchanged_words; eTag $unchanged_etag; operation $OUTCOME$WHY"
}

# An If-Match that is not of the pool as it is: of how it was, if that is known.
stale() {
    if [ "$first_etag" != "$ETAG" ]; then printf '"%s"' "$first_etag"; else printf '"00000000-0000-0000-0000-000000000000"'; fi
}

step_etag() {
    if ! steady || [ -z "$ETAG" ]; then
        unknown put-if-match 'no eTag to send'
        return
    fi
    unchanged put-if-match-quoted "\"$ETAG\"" || unlike put-if-match-quoted "$(reply)"
    steady || return
    unchanged put-if-match-unquoted "$ETAG" || say put-if-match-unquoted "$(reply)"
    steady || return
    body . || return
    send PUT "$(address '')" "$work/put.json" "$(stale)"
    if [ "$STATUS" = 412 ]; then say put-if-match-stale "$(reply)"; else unlike put-if-match-stale "$(reply)"; fi
    if accepted; then operation; follow; fi
}

step_grow() {
    machines "$secret/machines-first" || unknown machines "$(reply)"
    steady || { unknown put-count 'the pool is not steady'; return; }
    count=$((first_count + 1))
    body '.properties.count = $count' || return
    send PUT "$(address '')" "$work/put.json" "\"$ETAG\""
    if ! accepted; then
        unlike put-count "$(reply)"
        return
    fi
    say put-count "$(reply)"
    cp "$work/head" "$work/kept"
    operation
    read_pool && say put-count-shown "count $COUNT and $STATE right after the answer"
    cp "$work/kept" "$work/head"
    finish put-count-operation
}

step_omit() {
    steady || { unknown put-omitted 'the pool is not steady'; return; }
    body '.properties.tags = ((.properties.tags // {}) + {"gpuscale-conformance": "set"})
        | .properties.nodeLabels = ((.properties.nodeLabels // {}) + {"gpuscale-conformance": "set"})' || return
    send PUT "$(address '')" "$work/put.json" "\"$ETAG\""
    if accepted; then operation; follow; else unknown put-omitted "a tag and a label cannot be set: $(reply)"; return; fi
    if [ "$(has_marks)" != 'true true' ]; then
        unknown put-omitted "a tag and a label were set and are not shown ($OUTCOME$WHY)"
        return
    fi
    body 'del(.properties.tags, .properties.nodeLabels)' || return
    send PUT "$(address '')" "$work/put.json" "\"$ETAG\""
    if ! accepted; then
        unknown put-omitted "a PUT without tags and labels: $(reply)"
        return
    fi
    operation
    follow
    if [ "$OUTCOME" != Succeeded ] && [ "$OUTCOME" != none ]; then
        unknown put-omitted "a PUT without tags and labels: $OUTCOME$WHY"
        return
    fi
    case $(has_marks) in true*) say put-omitted-tags kept ;; *) say put-omitted-tags reset ;; esac
    case $(has_marks) in *true) say put-omitted-labels kept ;; *) say put-omitted-labels reset ;; esac
}

has_marks() {
    jq -r '[.properties.tags, .properties.nodeLabels] | map((. // {}) | has("gpuscale-conformance") | tostring)
        | join(" ")' "$work/pool.json"
}

step_delete() {
    if ! steady || ! machines "$secret/machines"; then
        unknown delete-machines "the machines cannot be listed: $(reply)"
        return
    fi
    # A machine that was not there before, so that what is left is what there was.
    [ -f "$secret/machines-first" ] || : >"$secret/machines-first"
    victim=$(comm -13 "$secret/machines-first" "$secret/machines" | tail -n 1)
    [ -n "$victim" ] || victim=$(tail -n 1 "$secret/machines")
    if [ -z "$victim" ]; then
        unknown delete-machines 'there is no machine to delete'
        return
    fi
    before=$COUNT delete_etag=$ETAG
    jq -c -n --arg name "$victim" '{machineNames: [$name]}' >"$work/delete.json"
    send POST "$(address /deleteMachines)" "$work/delete.json"
    if ! accepted; then
        unlike delete-machines "$(reply)"
        return
    fi
    say delete-machines "$(reply)"
    cp "$work/head" "$work/kept"
    operation
    at_once=
    read_pool && [ "$COUNT" != "$before" ] && at_once=yes
    cp "$work/kept" "$work/head"
    WATCHED=$before
    finish delete-machines-operation
    WATCHED=
    if [ "$at_once" = yes ]; then
        say delete-machines-count "falls with the answer: $before, then $COUNT"
    elif [ -n "$FELL" ]; then
        say delete-machines-count "falls $FELL s after the answer, while the operation runs: $before, then $COUNT"
    elif [ "$COUNT" != "$before" ]; then
        say delete-machines-count "falls when the operation ends: $before, then $COUNT"
    else
        sleep "$((pause * 3))"
        if ! steady; then
            unknown delete-machines-count 'the pool cannot be read any more'
        elif [ "$COUNT" != "$before" ]; then
            say delete-machines-count "falls after the operation has ended: $before, then $COUNT"
        else
            unlike delete-machines-count "stays $before, $((pause * 3)) s after the operation ended"
        fi
    fi
    if [ "$ETAG" = "$delete_etag" ]; then say delete-machines-etag kept; else say delete-machines-etag changed; fi
    if ! machines "$secret/machines"; then
        unknown delete-machines-machine "$(reply)"
    elif grep -F -x -q "$victim" "$secret/machines"; then
        unlike delete-machines-machine "$victim is still listed"
    else
        say delete-machines-machine "$victim is gone, $(wc -l <"$secret/machines" | tr -d ' ') left"
    fi
}

# scale_body COUNT: what PATCH takes.
scale_body() { printf '{"properties":{"count":%s}}' "$1" >"$work/patch.json"; }

step_patch() {
    if ! restore || [ -z "$ETAG" ]; then
        unknown patch 'the pool did not come back to its first count'
        return
    fi
    scale_body "$first_count"
    send PATCH "$(address '' "$preview")" "$work/patch.json" "$(stale)"
    case $STATUS in
        412) say patch-if-match-stale "$(reply)" ;;
        2??)
            unlike patch-if-match-stale "$(reply)"
            operation
            follow
            ;;
        *)
            unknown patch "$(reply)"
            return
            ;;
    esac
    steady || return
    scale_body "$((first_count + 1))"
    send PATCH "$(address '' "$preview")" "$work/patch.json" "\"$ETAG\""
    if ! accepted; then
        unknown patch "$(reply)"
        return
    fi
    say patch "$(reply)"
    operation
    patch_operation=$OPERATION
    read_pool
    say patch-shown "count $COUNT and $STATE right after the answer"
    # And back again while it runs. Not by `send`, which would wait for it.
    scale_body "$first_count"
    request PATCH "$(address '' "$preview")" "$work/patch.json" "\"$ETAG\""
    if [ "$STATE" = Succeeded ]; then
        unknown patch-while-running 'the first one had ended before the second was sent'
    else
        say patch-while-running "$(reply)"
    fi
    if accepted; then
        operation
        finish patch-while-running-operation
    fi
    OPERATION=$patch_operation
    follow
    say patch-operation "$OUTCOME$WHY; the pool is then $STATE with count $COUNT"
}

step_abort() {
    if ! restore; then
        unknown abort 'the pool did not come back to its first count'
        return
    fi
    count=$((first_count + 1))
    body '.properties.count = $count' || return
    send PUT "$(address '')" "$work/put.json" "\"$ETAG\""
    if ! accepted; then
        unknown abort "there is no operation to abort: $(reply)"
        return
    fi
    operation
    abort_operation=$OPERATION
    request POST "$(address /abort)"
    case $STATUS in
        2??) say abort "$(reply)" ;;
        409) unknown abort "the operation may have ended first: $(reply)" ;;
        *) unlike abort "$(reply)" ;;
    esac
    if accepted; then
        operation
        follow
        say abort-operation "$OUTCOME after $TOOK s$WHY"
    fi
    OPERATION=$abort_operation
    follow
    say abort-aborted "the operation that was aborted is $OUTCOME$WHY; the pool is $STATE with count $COUNT, first $first_count"
    if restore; then
        say abort-resize-after "the count can be written again: $COUNT"
    else
        unlike abort-resize-after 'the count cannot be written'
    fi
}

for step in $steps; do
    case $step in
        etag) step_etag ;;
        grow) step_grow ;;
        omit) step_omit ;;
        delete) step_delete ;;
        patch) step_patch ;;
        abort) step_abort ;;
    esac
done
say not-asked 'deleteMachines below the minCount of an autoscaler, throttles of PATCH, limits of PromQL'

[ "$unexpected" = 0 ] || exit 1
[ "$unsettled" = 0 ] || exit 3
exit 0
