#!/bin/sh
# Prints the page's template with the line @OPTIONS@ replaced by what the program says of its options.
set -eu
template=$1
sluice=$2
sed '/^@OPTIONS@$/,$d' "$template"
"$sluice" options --man
sed '1,/^@OPTIONS@$/d' "$template"
