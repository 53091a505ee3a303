// PHP that runs what a request sends. The rule of the alert adds that PHP holds it: in an editor it is but text.
rule tocsin_web_shell : web_shell
{
    meta:
        description = "PHP code that runs what a request sends"

    strings:
        $decoded = /(eval|assert)\s{0,8}\(\s{0,8}@?(base64_decode|gzinflate|gzuncompress|str_rot13|strrev)\s{0,8}\(.{0,80}\$_(POST|GET|REQUEST|COOKIE|SERVER)\s{0,8}\[/
        $plain = /(eval|assert)\s{0,8}\(\s{0,8}@?\$_(POST|GET|REQUEST|COOKIE)\s{0,8}\[/
        $command = /(system|shell_exec|passthru|popen|proc_open|exec)\s{0,8}\(\s{0,8}@?\$_(POST|GET|REQUEST|COOKIE)\s{0,8}\[/
        $begin = "<?php"

    condition:
        memory == "data" and $begin and any of ($decoded, $plain, $command)
}
