"""Currencies: which there are, and how many digits of each are behind the point."""

from __future__ import annotations

from typing import Final

# ISO 4217, list one, column "minor unit". Left out is what has none there (gold, test codes) and the
# units of account of banks and funds (such as CHE, MXV, USN, UYI), in which nobody sells anything.
# A code that ISO withdraws stays here: deals have it.
_NONE: Final = "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF"
_TWO: Final = (
    "AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD"
    " CDF CHF CNY COP CRC CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ"
    " GYD HKD HNL HTG HUF IDR ILS INR IRR JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL"
    " MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR"
    " PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN SVC SYP SZL THB TJS TMT"
    " TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG"
)
_THREE: Final = "BHD IQD JOD KWD LYD OMR TND"

EXPONENTS: Final[dict[str, int]] = {
    code: digits for digits, codes in ((0, _NONE), (2, _TWO), (3, _THREE)) for code in codes.split()
}
"""Digits behind the point, by the code of ISO 4217."""


def decimal(amount_minor: int, currency: str) -> str:
    """Return an amount as people write it, exactly.

    Args:
        amount_minor: In the smallest unit of the currency.
        currency: Its code.

    >>> decimal(123456, "EUR"), decimal(123456, "JPY"), decimal(5, "KWD")
    ('1234.56', '123456', '0.005')
    """
    digits = EXPONENTS[currency]
    if digits == 0:
        return str(amount_minor)
    whole, rest = divmod(amount_minor, 10**digits)
    return f"{whole}.{rest:0{digits}d}"
