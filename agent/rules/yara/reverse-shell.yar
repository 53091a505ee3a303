// A script that ties a shell to a connection. The rule of the alert adds that an interpreter runs and what it is: in a
// shell's history, or an editor, it is but text.
rule tocsin_reverse_shell : reverse_shell
{
    meta:
        description = "script code that ties a shell to a connection"

    strings:
        $python_connect = /\.connect\(\s{0,4}\(\s{0,4}["'][0-9a-zA-Z_.:-]{1,128}["']\s{0,4},\s{0,4}[0-9]{1,5}/
        $python_tie = /dup2\(\s{0,4}[a-z_]{1,16}\.fileno\(\)\s{0,4},\s{0,4}[012]\s{0,4}\)/
        $python_shell = /(pty\.spawn|subprocess\.(call|run|Popen)|os\.execl?v?p?)\(\s{0,4}[\[(]?\s{0,4}["'](\/bin\/)?(ba|da|z|k)?sh["']/

        $perl_connect = /connect\(\s{0,4}S\s{0,4},\s{0,4}sockaddr_in\(/
        $perl_tie = /open\(\s{0,4}STDIN\s{0,4},\s{0,4}["']>&S["']\s{0,4}\)/
        $perl_shell = /exec\(?\s{0,4}["{]?["']?\/bin\/(ba|da)?sh -i/

    condition:
        memory == "data" and (all of ($python*) or all of ($perl*))
}
