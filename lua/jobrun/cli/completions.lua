--- `jobrun completions bash|zsh|fish`: what a shell completes.
--
-- SPDX-License-Identifier: MIT

local check = require "jobrun.check"
local help = require "jobrun.cli.help"

local M = {}

M.help = [[
jobrun completions bash|zsh|fish

Prints what the shell is to source.

Example:  jobrun completions bash > /etc/bash_completion.d/jobrun]]

local BASH <const> = [[
_jobrun() {
  local word=${COMP_WORDS[COMP_CWORD]}
  case $word in
  -*) COMPREPLY=($(compgen -W "@OPTIONS@" -- "$word")) ;;
  *)
    COMPREPLY=($(compgen -f -X '!*.lua' -- "$word") $(compgen -d -S / -- "$word"))
    [ "$COMP_CWORD" -eq 1 ] && COMPREPLY+=($(compgen -W "@COMMANDS@" -- "$word"))
    ;;
  esac
}
complete -o nospace -F _jobrun jobrun]]

local ZSH <const> = [=[
#compdef jobrun
_jobrun() {
  if [[ $words[CURRENT] == -* ]]; then
    compadd -- @OPTIONS@
  else
    [[ $CURRENT -eq 2 ]] && compadd -- @COMMANDS@
    _files -g '*.lua(-.)'
  fi
}
compdef _jobrun jobrun]=]

local FISH <const> = [[
complete -c jobrun -n '__fish_is_first_token' -a '@COMMANDS@'
for option in @OPTIONS@
  complete -c jobrun -l (string replace -r '^--' '' -- (string replace -r '=$' '' -- $option))
end]]

local SHELLS = { bash = BASH, zsh = ZSH, fish = FISH }

-- The options are those of the text jobrun --help prints.
local function options()
  local list, text = {}, require("jobrun.exec").exec({ require("jobrun.test").program, "--help" }).stdout
  for option in text:gmatch "\n  (%-%-%l[%l-]*=?)" do list[#list + 1] = option end
  return table.concat(list, " ")
end

---@param shell? string
function M.main(shell)
  if shell == "--help" or shell == "-h" then return print(M.help) end
  if not SHELLS[shell] then check.fail("completions: expected bash, zsh or fish, got %s", check.show(shell)) end
  local commands = check.keys(help.commands)
  local text = SHELLS[shell]:gsub("@COMMANDS@", table.concat(commands, " ")):gsub("@OPTIONS@", options())
  print(text)
end

return M
