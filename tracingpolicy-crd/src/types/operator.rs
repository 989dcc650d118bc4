//! Operators of filters.

use super::declare::names;

names! {
    /// Membership, for filters on sets.
    pub enum SetOperator: "operator" {
        /// Any of the values.
        In = "In",
        /// None of the values.
        NotIn = "NotIn",
    }
}

names! {
    /// How paths of binaries are compared.
    pub enum BinaryOperator: "operator" {
        /// Equal to any of the values.
        In = "In",
        /// Equal to none of the values.
        NotIn = "NotIn",
        /// Any of the values is a prefix.
        Prefix = "Prefix",
        /// None of the values is a prefix.
        NotPrefix = "NotPrefix",
        /// Any of the values is a suffix.
        Postfix = "Postfix",
        /// None of the values is a suffix.
        NotPostfix = "NotPostfix",
        /// Any of the values describes the path, as a glob. Beyond the language's definition.
        Glob = "Glob",
        /// None of the values describes the path, as a glob. Beyond the language's definition.
        NotGlob = "NotGlob",
        /// Any of the values describes a part of the path, as a regular expression. Beyond the language's definition.
        Regex = "Regex",
        /// None of the values describes a part of the path, as a regular expression. Beyond the language's definition.
        NotRegex = "NotRegex",
    }
}

impl BinaryOperator {
    /// Whether it matches what its positive counterpart does not.
    pub const fn is_negative(self) -> bool {
        matches!(
            self,
            Self::NotIn | Self::NotPrefix | Self::NotPostfix | Self::NotGlob | Self::NotRegex
        )
    }
}

names! {
    /// How an argument is compared with the values of a filter.
    pub enum ArgOperator: "operator" {
        /// Equal to any of the values.
        Equal = "Equal",
        /// Equal to none of the values.
        NotEqual = "NotEqual",
        /// Any of the values is a prefix.
        Prefix = "Prefix",
        /// None of the values is a prefix.
        NotPrefix = "NotPrefix",
        /// Any of the values is a suffix.
        Postfix = "Postfix",
        /// None of the values is a suffix.
        NotPostfix = "NotPostfix",
        /// Greater than any of the values; the same as `GT`.
        GreaterThan = "GreaterThan",
        /// Less than any of the values; the same as `LT`.
        LessThan = "LessThan",
        /// Greater than any of the values.
        GT = "GT",
        /// Less than any of the values.
        LT = "LT",
        /// Has a bit of any of the values.
        Mask = "Mask",
        /// Source port is any of the values.
        SPort = "SPort",
        /// Source port is none of the values.
        NotSPort = "NotSPort",
        /// Source port is below 1024.
        SPortPriv = "SPortPriv",
        /// Source port is 1024 or above. The resource definition spells it so.
        NotSPortPriv = "NotSportPriv",
        /// Destination port is any of the values.
        DPort = "DPort",
        /// Destination port is none of the values.
        NotDPort = "NotDPort",
        /// Destination port is below 1024.
        DPortPriv = "DPortPriv",
        /// Destination port is 1024 or above.
        NotDPortPriv = "NotDPortPriv",
        /// Source address is in any of the networks.
        SAddr = "SAddr",
        /// Source address is in none of the networks.
        NotSAddr = "NotSAddr",
        /// Destination address is in any of the networks.
        DAddr = "DAddr",
        /// Destination address is in none of the networks.
        NotDAddr = "NotDAddr",
        /// Protocol is any of the values.
        Protocol = "Protocol",
        /// Address family is any of the values.
        Family = "Family",
        /// TCP state is any of the values.
        State = "State",
        /// Number is in the set of the values.
        InMap = "InMap",
        /// Number is not in the set of the values.
        NotInMap = "NotInMap",
        /// The second of two sets of capabilities has one that the first lacks.
        CapabilitiesGained = "CapabilitiesGained",
        /// Number is in any of the ranges, bounds included.
        InRange = "InRange",
        /// Number is in none of the ranges.
        NotInRange = "NotInRange",
        /// Any of the values occurs in the string.
        SubString = "SubString",
        /// Any of the values occurs in the string in any case.
        SubStringIgnCase = "SubStringIgnCase",
        /// The expression is true.
        CelExpr = "CelExpr",
        /// Type of file is any of the values.
        FileType = "FileType",
        /// Type of file is none of the values.
        NotFileType = "NotFileType",
        /// Any of the values describes the string, as a glob. Beyond the language's definition.
        Glob = "Glob",
        /// None of the values describes the string, as a glob. Beyond the language's definition.
        NotGlob = "NotGlob",
        /// Any of the values describes a part of the string, as a regular expression. Beyond the language's definition.
        Regex = "Regex",
        /// None of the values describes a part of the string, as a regular expression. Beyond the language's definition.
        NotRegex = "NotRegex",
    }
}
