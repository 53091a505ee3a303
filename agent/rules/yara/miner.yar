// A program that speaks the protocol of mining pools and knows their algorithms. Words about mining stand in many texts:
// these must be part of the program itself, not of what it reads.
rule tocsin_miner : miner
{
    meta:
        description = "the program speaks to mining pools"

    strings:
        $url_plain = "stratum+tcp://"
        $url_tls = /stratum\+(ssl|tls):\/\//

        $say_subscribe = "mining.subscribe"
        $say_authorize = "mining.authorize"
        $say_submit = "mining.submit"
        $say_difficulty = "mining.set_difficulty"
        $say_notify = "mining.notify"

        $algorithm_randomx = "randomx" nocase
        $algorithm_rx = "rx/0"
        $algorithm_cryptonight = "cryptonight" nocase
        $algorithm_kawpow = "kawpow" nocase
        $algorithm_ethash = "ethash" nocase
        $algorithm_scrypt = "scrypt" fullword
        $algorithm_sha256d = "sha256d" fullword

        $word_rate = "hashrate" nocase
        $word_donate = /donate-(level|over-proxy)/
        $word_worker = "rig-id"
        $word_share = /(accepted|rejected):? %/

    condition:
        memory == "program" and any of ($url*) and
        (3 of ($say*) or (2 of ($algorithm*) and 2 of ($word*)))
}
